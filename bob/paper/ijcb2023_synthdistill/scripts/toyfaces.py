"""Draw the miniature benchmarks of ToyFaces, in the layouts of the real ones."""

from pathlib import Path

import click

from ..toyfaces import PAIRS_PER_FOLD, SEED
from . import FOLDER, command

NAMES = ("lfw", "calfw", "cplfw", "cfp-fp", "agedb-30")


class _Name(click.Choice):
    """A benchmark's name, with or without ``toyfaces-``."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(value.removeprefix("toyfaces-"), param, ctx)


@command()
@click.argument("folder", type=FOLDER)
@click.option("--seed", default=SEED, type=click.IntRange(min=0), help="Same seed, same bytes.")
@click.option(
    "--pairs-per-fold",
    default=PAIRS_PER_FOLD,
    type=click.IntRange(2, 100_000),
    help="Pairs of each of the 10 folds, half of them genuine.",
)
@click.option(
    "--layout",
    default="all",
    type=click.Choice(["bin", "aligned", "unaligned", "all"]),
    help="InsightFace's .bin files; aligned faces with the official pair list; photographs with "
    "the list and eye positions (which take most of the time); or all three.",
)
@click.option(
    "--benchmark",
    "names",
    multiple=True,
    type=_Name(NAMES),
    help="Write only this one (may be given several times). [default: all five]",
)
def toyfaces(folder: Path, layout: str, names: tuple[str, ...], **settings: int) -> None:
    """Draw the five miniature benchmarks and write them into FOLDER, in all three layouts.

    They are found by the names toyfaces-lfw, ..., toyfaces-agedb-30 after `bob config set
    bob.paper.ijcb2023_synthdistill.toyfaces FOLDER`. What FOLDER holds already is kept; a folder
    with anything else in it is refused.
    """
    from ..toyfaces.layouts import LAYOUTS, write

    for path in write(folder, names or NAMES, LAYOUTS if layout == "all" else [layout], **settings):
        click.echo(path)
