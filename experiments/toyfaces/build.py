"""Rebuild everything that ToyFaces ships: teacher, generator, figures and pictures.

    python experiments/toyfaces/build.py

Everything is drawn, so nothing is downloaded. The shipped files took 20 and 16 minutes of wall
time on two cores, see CARD.md beside them.
"""

from pathlib import Path
from types import ModuleType

import click
import figures
import pictures
import train_generator
import train_teacher

from bob.paper.ijcb2023_synthdistill import toyfaces


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=toyfaces.TEACHER.parent,
    help="Folder of the two files; by default the package's own.",
)
@click.option(
    "--pictures",
    "album",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent / "pictures",
)
@click.option(
    "--images",
    type=click.IntRange(128),
    help="Renderings that each of the two learns from; by default what its own script says.",
)
@click.option(
    "--count",
    type=click.IntRange(128),
    default=2048,
    show_default=True,
    help="Images to measure on.",
)
def main(output: Path, album: Path, images: int | None, count: int) -> None:
    """Train the teacher, then the generator by its view; measure and draw them."""
    teacher, generator = (output / path.name for path in (toyfaces.TEACHER, toyfaces.GENERATOR))
    few = () if images is None else ("--images", images)
    both = ("--generator", generator, "--teacher", teacher)
    _run(train_teacher, "-o", teacher, *few)
    _run(train_generator, "-o", generator, "--teacher", teacher, *few)
    _run(figures, *both, "--count", count)
    _run(pictures, "--generator", generator, "-o", album)


def _run(script: ModuleType, *arguments: object) -> None:
    """Run another script of this folder in this process."""
    script.main([str(argument) for argument in arguments], standalone_mode=False)


if __name__ == "__main__":
    main()
