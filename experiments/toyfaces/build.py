"""Make again everything that ToyFaces ships: teacher, generator, their figures and pictures.

    python experiments/toyfaces/build.py
    python experiments/toyfaces/build.py figures

Everything is drawn, so nothing is downloaded. The shipped files took 20 and 16 minutes of wall
time on two cores, see CARD.md beside them.
"""

import json
import logging
from pathlib import Path

import click
from figures import draw_pictures, figures
from train_generator import train_generator
from train_teacher import train_teacher

from bob.paper.ijcb2023_synthdistill import toyfaces

PARTS = ("teacher", "generator", "figures", "pictures")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=toyfaces.TEACHER.parent,
    help="Folder of the two files; by default the package's own.",
)
@click.option(
    "--seed", default=1, show_default=True, help="Of the teacher, its people and photographs."
)
@click.option(
    "--pictures",
    "album",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent / "pictures",
    help="Folder of the pictures.",
)
def main(parts: tuple[str, ...], output: Path, seed: int, album: Path) -> None:
    """Train the teacher, then the generator by its view; measure and draw them. Or PARTS of it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    teacher, generator = (output / path.name for path in (toyfaces.TEACHER, toyfaces.GENERATOR))
    parts = parts or PARTS
    if "teacher" in parts:
        train_teacher(teacher, seed=seed)
    if "generator" in parts:
        train_generator(generator, teacher)
    if "figures" in parts:
        click.echo(json.dumps(figures(generator, teacher), indent=2))
    if "pictures" in parts:
        draw_pictures(generator, album)


if __name__ == "__main__":
    main()
