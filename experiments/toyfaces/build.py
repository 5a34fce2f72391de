"""Rebuild everything that ToyFaces ships: teacher, generator, figures and pictures.

    python experiments/toyfaces/build.py

Everything is drawn, so nothing is downloaded. The shipped files took 20 and 23 minutes of wall time
on two busy cores, see CARD.md beside them.
"""

from pathlib import Path

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
def main(output: Path, album: Path) -> None:
    """Train the teacher and the generator, then measure and draw them."""
    teacher, generator = (output / path.name for path in (toyfaces.TEACHER, toyfaces.GENERATOR))
    train_teacher.main(["-o", str(teacher)], standalone_mode=False)
    train_generator.main(["-o", str(generator)], standalone_mode=False)
    figures.main(["--generator", str(generator), "--teacher", str(teacher)], standalone_mode=False)
    pictures.main(["--generator", str(generator), "-o", str(album)], standalone_mode=False)


if __name__ == "__main__":
    main()
