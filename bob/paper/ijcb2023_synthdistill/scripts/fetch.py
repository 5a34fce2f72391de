"""``synthdistill-fetch``: download weights, and tell what is in place."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files import SynthDistillError

if TYPE_CHECKING:
    from ..fetching import Source

NAMES = ("teacher", "generator", "imagenet")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    synthdistill-fetch --check
    synthdistill-fetch teacher generator --configure
    synthdistill-fetch teacher -o /data/weights --address http://mirror/iresnet-91a5de61.tar.gz
""",
)
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(NAMES))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the files go.  [default: ~/.local/share/bob.paper.ijcb2023_synthdistill]",
)
@click.option("--address", metavar="URL", help="Another address of the same file (with one NAME).")
@click.option("--configure", is_flag=True, help="Also do what `bob config set KEY PATH` does.")
@click.option("--force", is_flag=True, help="Download again what is there.")
@click.option(
    "--check",
    is_flag=True,
    help="Tell what is in place for the paper's tables. The exit status is 0 only if all is.",
)
@click.option("--images", is_flag=True, help="With --check: also decode every image (minutes).")
@click.option("--json", "as_json", is_flag=True, help="With --check: as JSON.")
def fetch(
    names: tuple[str, ...],
    output: Path | None,
    address: str | None,
    configure: bool,
    force: bool,
    check: bool,
    images: bool,
    as_json: bool,
) -> None:
    """Download weights that have a public address: NAME is teacher, generator or imagenet.

    The teacher is ArcFace's iresnet100 (Bob's data server), the generator StyleGAN2 at 256x256
    (NVIDIA's catalogue, under NVIDIA's licence: read it on its page), imagenet the weights that
    TinyFaR students start from (timm's, into the cache that timm uses). An interrupted download is
    continued by the same command. The five benchmarks cannot be downloaded without asking their
    owners: --check tells what they need.
    """
    if not names and not check:
        raise click.UsageError(f"say what to fetch: {', '.join(NAMES)}; or --check")
    if address is not None and (len(names) != 1 or names[0] == "imagenet"):
        raise click.UsageError("--address goes with exactly one of teacher and generator")
    if (images or as_json) and not check:
        raise click.UsageError("--images and --json go with --check")
    for name in names:
        if name == "imagenet":
            _fetch_imagenet(quiet=as_json)
        else:
            _fetch(name, output, address, configure, force, quiet=as_json)
    if check:
        _check(images, as_json)


def _fetch(
    name: str, folder: Path | None, address: str | None, configure: bool, force: bool, quiet: bool
) -> None:
    """Download one source, see that it loads, and tell or write where it is."""
    from ..fetching import SOURCES, default_folder
    from ..fetching import fetch as fetch_source
    from ..files import configure_path
    from ..inventory import describe_generator, describe_teacher

    source = SOURCES[name]
    folder = (folder or default_folder()).expanduser().absolute()
    click.echo(f"fetching {source.title} into {folder}", err=True)
    try:
        path = fetch_source(source, folder, address, force)
    except SynthDistillError as error:
        raise SynthDistillError(f"{error.message}\n\n{_by_hand(source, folder)}") from error
    if source.checksum is None:
        click.echo("its checksum is not known: it is loaded to see whether it is whole", err=True)
    describe = {"generator": describe_generator, "teacher": describe_teacher}[name]
    _, description = describe(path)
    command = f"bob config set {source.key} {path}"
    if configure:
        command = f"(written to {configure_path(source.key, path)}) {command}"
    if not quiet:
        click.echo(f"{path}: {description}")
        click.echo(command)


def _by_hand(source: "Source", folder: Path) -> str:
    """Tell how to get a file with a browser."""
    return (
        f"By hand: open {source.page}, download {source.file_name} into {folder}, and run the same "
        f"command again, or `bob config set {source.key} PATH`."
    )


def _fetch_imagenet(quiet: bool) -> None:
    """Download timm's weights of the three backbones into the cache."""
    from ..recognition.backbones import TINYFAR, create_backbone

    for name, timm_name in TINYFAR.items():
        create_backbone(name, pretrained=True)
        if not quiet:
            click.echo(f"imagenet weights for {name} (timm's {timm_name}): in the cache")


def _check(images: bool, as_json: bool) -> None:
    """Print what is in place; exit with status 1 if something is not."""
    from ..inventory import RIGHT, is_complete, take_stock

    items = []
    for item in take_stock(images):
        items.append(item)
        if as_json:
            continue
        optional = "" if item.required or item.state == RIGHT else " (optional)"
        click.echo(f"{item.state + optional:20}{item.name:12}{item.message}")
        if item.command is not None:
            click.echo(f"{'':20}needed for  {item.needed_for}")
            click.echo(f"{'':20}mended by   {item.command}")
    complete = is_complete(items)
    if as_json:
        found = {"complete": complete, "items": [item.to_json() for item in items]}
        click.echo(json.dumps(found, indent=2))
    elif complete:
        click.echo("\nAll is in place for the paper's tables.")
    else:
        click.echo(
            "\nNot all is in place for the paper's tables. Their miniatures (toyfaces) need "
            "nothing of it: `make demo`."
        )
    raise SystemExit(0 if complete else 1)
