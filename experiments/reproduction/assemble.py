"""From a declaration and what was trained and evaluated to the table and its plots."""

from pathlib import Path

from bob.paper.ijcb2023_synthdistill.evaluation.curves import Point, plot_points
from bob.paper.ijcb2023_synthdistill.evaluation.properties import model_properties, run_properties

from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import benchmarks
from bob.paper.ijcb2023_synthdistill.evaluation.plots import save_figure
from bob.paper.ijcb2023_synthdistill.evaluation.provenance import describe_provenance
from bob.paper.ijcb2023_synthdistill.evaluation.report import Report, draw_report, make_report
from bob.paper.ijcb2023_synthdistill.evaluation.results import Entry, ScoreReader
from bob.paper.ijcb2023_synthdistill.evaluation.tables import Quantity, Row, write_table
from bob.paper.ijcb2023_synthdistill.files import atomic_write

from .declarations import Declaration, DeclaredPlot
from .plan import PlannedModel, plan_row
from .runs import Settings

COMPLEXITY = {"parameters", "multiply_adds", "file_size", "seconds"}


def assemble(
    declaration: Declaration,
    settings: Settings,
    reader: ScoreReader,
    folder: Path,
    *,
    plots: bool = True,
) -> tuple[Report, list[Path]]:
    """Make a table and its plots from what is there.

    Parameters
    ----------
    declaration
        The table.
    settings
        Of the command line.
    reader
        Reads the score files.
    folder
        Where ``table.md``, ``table.tex``, ``table.csv``, ``provenance.txt`` and the plots go.
    plots
        Whether plots are drawn.

    Returns
    -------
        The report, and the files written.
    """
    benchmarks = declaration.variant.benchmarks
    entries = []
    for row in declaration.rows:
        models = plan_row(row, declaration, settings)
        if all(model.ready for model in models):
            planned = [model.results(benchmarks) for model in models]
        else:
            planned = []
        values: dict[str, Quantity | str | None] = {"training_data": row.training_data or None}
        if planned:
            values |= _properties(declaration, models[0])
        entries.append(Entry(row.label, planned, row.section, values))
    report = make_report(
        f"{declaration.title} ({declaration.variant.name})",
        entries,
        benchmarks,
        reader,
        metric=declaration.metric,
        published=declaration.published,
        properties=declaration.properties,
        notes=declaration.notes,
    )
    written = write_table(report.table, folder)
    with atomic_write(folder / "provenance.txt") as temporary:
        temporary.write_text(describe_provenance(report.traced) + "\n", encoding="utf-8")
    written.append(folder / "provenance.txt")
    if plots:
        written += draw_report(entries, benchmarks, reader, folder)
        if declaration.plot is not None:
            written += _draw(declaration, declaration.plot, report, folder)
    return report, written


def _properties(declaration: Declaration, model: PlannedModel) -> dict[str, Quantity | str | None]:
    if model.file is None:
        return {}
    values = run_properties(model.file.parent)
    if COMPLEXITY.intersection(declaration.properties):
        values |= model_properties(model.file, model.kind, timed=declaration.timed)
    return values


def _draw(declaration: Declaration, plot: DeclaredPlot, report: Report, folder: Path) -> list[Path]:
    """Draw the metric against a property of the rows, a line for each benchmark."""
    real = declaration.variant.benchmarks
    names = [name for name in real if plot.benchmark in ("", name.removeprefix("toyfaces-"))]
    rows = [row for row in report.table.rows if plot.section in ("", row.section)]
    series = {}
    for name in names:
        points = [_point(row, plot.x, name, one=len(names) == 1) for row in rows]
        series[benchmarks()[name].title] = [point for point in points if point is not None]
    if not any(series.values()):
        return []
    figure = plot_points(
        series,
        plot.xlabel,
        f"{declaration.metric} (%)",
        title=declaration.title,
        log=plot.logarithmic,
        joined=plot.joined,
    )
    return save_figure(figure, folder, f"{declaration.metric}-{plot.x}".replace("_", "-"))


def _point(row: Row, x: str, benchmark: str, *, one: bool) -> Point | None:
    """Make a point of a row that knows both; published rows may know FLOPs instead."""
    where, y = row.values.get(x), row.values.get(benchmark)
    if where is None and x == "multiply_adds":
        flops = row.values.get("mflops")
        where = Quantity(flops.value * 1e6) if isinstance(flops, Quantity) else None
    if where is None or not isinstance(y, Quantity):
        return None
    position = where.value if isinstance(where, Quantity) else float(where)
    label = row.label if one else ""
    return Point(position, y.value, y.deviation, label, row.kind == "published")
