"""``synthdistill-fetch``: download weights, and tell what is in place."""

import json
from pathlib import Path

import click

from ..fetching import GENERATORS
from . import FOLDER, command, json_option


@command(
    "synthdistill-fetch --check",
    "synthdistill-fetch teacher generator --configure",
    "synthdistill-fetch generator --name stylegan3-t-ffhq-1024x1024",
    "synthdistill-fetch teacher -o /data/weights --address http://mirror/iresnet-91a5de61.tar.gz",
)
@click.argument(
    "names",
    metavar="[NAME]...",
    nargs=-1,
    type=click.Choice(["teacher", "generator", "imagenet", "detector"]),
)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    help="Where the files go.  [default: ~/.local/share/bob.paper.ijcb2023_synthdistill]",
)
@click.option(
    "--name",
    "generator",
    type=click.Choice(GENERATORS),
    default=GENERATORS[0],
    help="Which generator.",
)
@click.option("--address", metavar="URL", help="Another address of the same file (with one NAME).")
@click.option("--configure", is_flag=True, help="Also do what `bob config set KEY PATH` does.")
@click.option("--force", is_flag=True, help="Download again what is there.")
@click.option(
    "--check",
    is_flag=True,
    help="Tell what is in place for the paper's tables. The exit status is 0 only if all is.",
)
@json_option(help="With --check: as JSON.")
def fetch(
    names: tuple[str, ...],
    output: Path | None,
    generator: str,
    address: str | None,
    configure: bool,
    force: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Download weights: NAME is teacher, generator, imagenet or detector.

    The teacher is ArcFace's iresnet100 (Bob's data server), the generator StyleGAN2 at 256x256
    (NVIDIA's catalogue, under NVIDIA's licence: read it on its page), imagenet the weights that
    TinyFaR students start from (timm's, into the cache that timm uses), the detector YuNet, which
    finds the faces in photographs (OpenCV's model zoo, MIT licence). The five benchmarks cannot
    be downloaded without asking their owners: --check tells what they need.
    """
    if not names and not check:
        raise click.UsageError("say what to fetch (teacher, generator ...), or --check")
    if address is not None and (len(names) != 1 or names[0] == "imagenet"):
        raise click.UsageError("--address goes with exactly one of teacher, generator, detector")

    from .. import fetching
    from ..files import configure_path

    folder = (output or fetching.default_folder()).expanduser().absolute()
    for name in names:
        if name == "imagenet":
            from ..recognition.student import TINYFAR, create_backbone

            for backbone in TINYFAR:
                create_backbone(backbone, pretrained=True)
                click.echo(f"imagenet weights for {backbone}: in the cache", err=as_json)
            continue
        need = fetching.needs(generator)[name]
        click.echo(f"fetching the {name} from {address or need.address} into {folder}", err=True)
        path, description = fetching.fetch(need, folder, address, force)
        command = f"bob config set {need.key} {path}"
        if configure:
            command = f"(written to {configure_path(str(need.key), path)}) {command}"
        click.echo(f"{path}: {description}\n{command}", err=as_json)
    if not check:
        return
    items = []
    for item in fetching.take_stock():
        items.append(item)
        if not as_json:
            optional = " (optional)" * (not item["required"] and item["command"] is not None)
            click.echo(f"{item['state'] + optional:20}{item['name']:12}{item['message']}")
            if item["command"] is not None:
                click.echo(f"{'':20}needed for  {item['needed_for']}")
                click.echo(f"{'':20}mended by   {item['command']}")
    complete = fetching.is_complete(items)
    said = "All is in place for the paper's tables."
    if not complete:
        said = said.replace("All", "Not all") + " Their miniatures need nothing: `make demo`."
    if as_json:
        said = json.dumps({"complete": complete, "items": items}, indent=2)
    click.echo(said)
    raise SystemExit(not complete)
