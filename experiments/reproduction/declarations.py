"""Read the tables' declarations: `experiments/tables/*.toml`."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bob.paper.ijcb2023_synthdistill.distillation.run_folder import nearest
from bob.paper.ijcb2023_synthdistill.evaluation.published import PublishedResult, select_published
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

FOLDER = Path(__file__).parents[1] / "tables"
VARIANTS = "variants"
"""Name of the file that says what the worlds are; all others are tables."""


@dataclass(frozen=True)
class Variant:
    """A world in which tables exist: the paper's, or the miniature one.

    Parameters
    ----------
    name
        ``real`` or ``toyfaces``.
    students
        The training config of each of the declarations' students.
    benchmarks
        The databases.
    """

    name: str
    students: dict[str, str]
    benchmarks: list[str]


@dataclass(frozen=True)
class DeclaredRow:
    """One row to be measured: a student to be trained, or a model that is there.

    Parameters
    ----------
    label
        What stands in the first column.
    section
        The row's section.
    student
        A student of the variant (``a``), or a training config's name or path.
    changes
        Configs chained behind the student's.
    epochs
        Instead of the config's. 0: the student before training.
    model
        Instead of a student: ``teacher``, or the file of a model.
    training_data
        Text for the column of that name.
    optional
        Why the row may fail: then its cells stay empty, and nothing is wrong.
    """

    label: str
    section: str = ""
    student: str = ""
    changes: tuple[str, ...] = ()
    epochs: int | None = None
    model: str = ""
    training_data: str = ""
    optional: str = ""

    def configs(self, variant: Variant) -> tuple[str, ...]:
        """Give the training configs to chain; none when the row is a model that is there."""
        if not self.student:
            return ()
        return (variant.students.get(self.student, self.student), *self.changes)


@dataclass(frozen=True)
class DeclaredPlot:
    """A plot of accuracy against a property of the rows.

    Parameters
    ----------
    x
        The property: ``coefficient``, ``images``, ``multiply_adds`` ...
    xlabel
        With the unit.
    section
        Only rows of this section.
    benchmark
        Only this benchmark (its name in `real`); all of the table's without.
    logarithmic
        Logarithmic x axis.
    joined
        Whether a line goes through the points.
    """

    x: str
    xlabel: str
    section: str = ""
    benchmark: str = ""
    logarithmic: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Declaration:
    """A table in one variant.

    Parameters
    ----------
    name
        Its file's name.
    variant
        The world.
    title
        Its caption.
    rows
        To be measured.
    published
        Rows that others measured; none in a world of which nobody published anything.
    metric
        What stands in the benchmarks' cells.
    properties
        Columns before the benchmarks.
    timed
        Whether the time of one image is measured for the column ``seconds``.
    notes
        Sentences below the table.
    plot
        Accuracy against a property.
    """

    name: str
    variant: Variant
    title: str
    rows: list[DeclaredRow]
    published: list[PublishedResult] = field(default_factory=list)
    metric: str = "accuracy"
    properties: list[str] = field(default_factory=list)
    timed: bool = False
    notes: list[str] = field(default_factory=list)
    plot: DeclaredPlot | None = None


def declared_tables(folder: Path = FOLDER) -> list[str]:
    """List the names of the tables."""
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem != VARIANTS)


def load_declaration(name: str, variant: str, folder: Path = FOLDER) -> Declaration:
    """Read a table's declaration in one variant.

    Parameters
    ----------
    name
        The table: ``table1``.
    variant
        ``real`` or ``toyfaces``.
    folder
        Holds the declarations.

    Returns
    -------
        The table.

    Raises
    ------
    SynthDistillError
        There is no such table or variant, or a declaration is wrong: where, and what was expected.
    """
    tables = declared_tables(folder)
    if name not in tables:
        raise SynthDistillError(
            f"there is no table {name!r}.{nearest(name, tables)} Tables: {', '.join(tables)}."
        )
    worlds = _read(folder / f"{VARIANTS}.toml")
    if variant not in worlds:
        raise SynthDistillError(
            f"there is no variant {variant!r}. Variants: {', '.join(sorted(worlds))}."
        )
    world = _make(Variant, {"name": variant, **worlds[variant]}, folder / f"{VARIANTS}.toml")
    path = folder / f"{name}.toml"
    content = _read(path)
    rows: list[DeclaredRow] = []
    published: list[PublishedResult] = []
    for declared in content.pop("rows", []):
        row = _in_variant(declared, variant, worlds)
        if row is None:
            continue
        criteria = row.pop("published", None)
        if criteria is not None:
            published += select_published(**criteria)
        else:
            rows.append(_row(row, path))
    plot = content.pop("plot", None)
    return _make(
        Declaration,
        {
            "name": name,
            "variant": world,
            "rows": rows,
            # nobody published anything about drawn faces
            "published": published if variant == "real" else [],
            "plot": None if plot is None else _make(DeclaredPlot, plot, path),
            **content,
        },
        path,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SynthDistillError(f"cannot read the declaration {path}: {error}") from error


def _in_variant(
    declared: dict[str, Any], variant: str, worlds: Sequence[str] | dict[str, Any]
) -> dict[str, Any] | None:
    """Lay what the row says of the variant over what it says of all."""
    row = {key: value for key, value in declared.items() if key not in worlds}
    row.update(declared.get(variant, {}))
    return row if variant in row.pop("variants", worlds) else None


def _row(content: dict[str, Any], path: Path) -> DeclaredRow:
    content = {**content, "changes": tuple(content.get("changes", ()))}
    row = _make(DeclaredRow, content, path)
    if bool(row.student) == bool(row.model):
        raise SynthDistillError(
            f"{path}: row {row.label!r} needs either a student (to train) or a model (that is "
            "there), or `published` criteria instead of both"
        )
    return row


def _make(kind: type, content: dict[str, Any], path: Path) -> Any:
    known = [item.name for item in fields(kind)]
    for name in content:
        if name not in known:
            raise SynthDistillError(
                f"{path}: unknown name {name!r}.{nearest(name, known)} Expected: {', '.join(known)}"
            )
    try:
        return kind(**content)
    except TypeError as error:
        raise SynthDistillError(f"{path}: {error}") from error
