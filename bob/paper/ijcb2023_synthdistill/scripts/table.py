"""``synthdistill-table``: from results folders to tables and plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from . import FOLDER, command, database_option

METRICS = ("accuracy", "eer", "tar@1e-2", "tar@1e-3", "tar@1e-4")


@command(
    "synthdistill-table results/",
    "synthdistill-table results/tinyfar-a results/static -o tables -d lfw -d cfp-fp",
    "synthdistill-table results/ --metric tar@1e-3 --no-plots --provenance",
)
@click.argument("folders", metavar="FOLDER...", nargs=-1, type=FOLDER)
@click.option(
    "--rows",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A table declared in TOML instead of FOLDER...: title, metric, databases, properties, "
    "notes, plot, and rows, each with label, section and the folders of its seeds, or with "
    "criteria of published results.",
)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    help="Where table.md, table.tex, table.csv and the plots go.  [default: the first FOLDER]",
)
@database_option(
    "databases",
    multiple=True,
    help="A benchmark to show, or pairs of your own: their pairs.csv, or the Python file "
    "that Bob took; may be given several times.  [default: those that were evaluated]",
)
@click.option("-m", "--metric", type=click.Choice(METRICS), default="accuracy")
@click.option(
    "--published/--no-published",
    default=None,
    help="All published results below, in italics and with their sources, or none.  [default: "
    "those of small networks, if a real benchmark is shown and the metric is accuracy]",
)
@click.option(
    "--complexity",
    is_flag=True,
    help="Columns for parameters, multiply-adds and file size of each student.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="MODULE:NAME",
    help="What makes a student that is a network of your own, for --complexity; may be given "
    "several times.",
)
@click.option(
    "--time",
    "timed",
    is_flag=True,
    help="A column for the time of one image on this CPU (one thread, batch 1); measured now.",
)
@click.option(
    "--reference",
    metavar="MODEL",
    help="The row that others are compared with on the same pairs: their differences in accuracy "
    "with 95 % intervals, bold where zero is outside.",
)
@click.option("--title", default="Measured here", help="The table's caption.")
@click.option("--plots/--no-plots", default=True, help="PNG and PDF plots.")
@click.option(
    "--provenance",
    is_flag=True,
    help="List the score file, model file and options.json behind each measured cell, with their "
    "hashes; also as provenance.txt (which --rows writes in any case).",
)
def table(
    folders: tuple[Path, ...],
    rows: Path | None,
    output: Path | None,
    provenance: bool,
    plots: bool,
    **options: Any,
) -> None:
    """Make a table and plots of the results in FOLDER...

    A FOLDER holds models: MODEL/DATABASE/scores-dev.csv as Bob writes it with `-o MODEL/DATABASE`,
    beside MODEL/student.safetensors and MODEL/options.json where the model was trained here. A
    model's own folder may be given, too.

    A score file that is incomplete, corrupt, or not of the model beside it is named, its cell stays
    empty, and the exit status is 1.
    """
    from ..benchmarks.benchmark import benchmarks
    from ..evaluation.report import describe_provenance, draw_property, draw_report, make_report
    from ..evaluation.results import SCORES, open_database
    from ..evaluation.tables import to_markdown, write_table
    from ..evaluation.terminal import exit_when_interrupted, say
    from ..files import SynthDistillError, atomic_write

    exit_when_interrupted()
    if bool(folders) == (rows is not None):
        raise click.UsageError("expected either FOLDER... or --rows FILE")
    declared = _declare(folders, **options) if rows is None else _read(rows)
    report = make_report(declared, [open_database(name) for name in declared["databases"]])
    evaluated = any(report.titles.keys() & row.cells.keys() for row in report.rows)
    if options["databases"] and not evaluated and not report.problems:
        raise SynthDistillError(
            f"no model in {', '.join(map(str, folders))} was evaluated on "
            f"{', '.join(report.titles)}, and a table without values is not written."
        )
    for model in dict.fromkeys(model for row in report.rows for model in row.models):
        for path in sorted(model.glob(f"*/{SCORES}")):
            if path.parent.name not in (*benchmarks(), *report.titles):
                words = f"{path.parent.name} is no benchmark. Give its pairs with -d."
                click.echo(f"warning: {path} is left out: {words}", err=True)
    output = output or (folders[0] if rows is None else rows.parent)
    say(to_markdown(report.table))
    written = write_table(report.table, output)
    listing = describe_provenance(report.rows)
    if provenance:
        say(listing + "\n")
    if provenance or rows:
        written.append(output / "provenance.txt")
        with atomic_write(written[-1]) as temporary:
            temporary.write_text(listing + "\n", encoding="utf-8")
    names = [path.name for path in written]
    if plots:
        written += draw_report(report, output)
        if "plot" in declared:
            written += draw_property(declared, report, output)
    pictures = (len(written) - len(names)) // 2
    click.echo(f"{output}: {', '.join(names)} and {pictures} plots (PNG and PDF)", err=True)
    for problem in report.problems:
        click.echo(f"error: {problem}", err=True)
    if report.problems:
        raise click.exceptions.Exit(1)


def _read(path: Path) -> dict[str, Any]:
    """Read a declared table; a name that is mistyped would be an empty cell, and is refused."""
    import tomllib

    from ..evaluation.report import PROPERTIES
    from ..files import SynthDistillError, nearest

    top = ["title", "metric", "databases", "properties", "networks", "notes", "plot", "rows"]
    top += ["timed", "reference"]
    plot = ["x", "xlabel", "section", "by_section", "benchmark", "logarithmic", "joined"]
    row = ["label", "section", "reference", "folders", "kind", "file", "training_data", "published"]
    declared: dict[str, Any] = {"title": path.stem, "metric": "accuracy", "properties": []}
    try:
        declared |= tomllib.loads(path.read_text(encoding="utf-8"))
        names = [(name, row) for content in declared["rows"] for name in content]
        names += [(name, plot) for name in declared.get("plot", ())]
        names += [(name, [*PROPERTIES]) for name in declared["properties"]]
        names += [(name, top) for name in declared] + [(declared["metric"], [*METRICS])]
        for name, known in names:
            if name not in known:
                raise ValueError(f"unknown name {name!r}.{nearest(name, known)}")
        if not all({"label", "published"} & {*content} for content in declared["rows"]):
            raise ValueError("a row has no label")
        return {**declared, "databases": list(declared["databases"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynthDistillError(f"cannot read the declared table {path}: {error}") from error


def _declare(
    folders: Sequence[Path],
    databases: Sequence[str],
    published: bool | None,
    complexity: bool,
    timed: bool,
    **declared: Any,
) -> dict[str, Any]:
    """Make of the command line what ``--rows`` declares."""
    from ..benchmarks.benchmark import benchmarks
    from ..evaluation.published import COMPARABLE
    from ..evaluation.results import find_models

    models = find_models(folders)
    # all of each kind of which one was evaluated; the real ones where none was
    kinds = {b.drawn for n, b in benchmarks().items() for m in models.values() if (m / n).is_dir()}
    shown = [name for name, b in benchmarks().items() if b.drawn in (kinds or {False})]
    chosen = list(databases) or shown
    real = any(name in benchmarks() and not benchmarks()[name].drawn for name in chosen)
    comparable = real and declared["metric"] == "accuracy"
    if published and not comparable:
        raise click.UsageError(
            "published results are accuracies: they cannot stand beside "
            f"{declared['metric']} on {chosen}"
        )
    groups: list[dict[str, str]] = []
    if published or (published is None and comparable):
        groups = [{}] if published else [{"group": group} for group in COMPARABLE]
    properties = ["training_data", "synthetic_images", "sampling", "coefficient"]
    properties += ["identity_kept", "images"]
    properties += ["parameters", "multiply_adds", "file_size"] * (complexity or timed)
    properties += ["seconds"] * timed + ["mflops"] * bool(groups and complexity)
    rows: list[dict[str, Any]] = [
        {"label": name, "section": "measured here", "folders": [folder]}
        for name, folder in models.items()
    ]
    rows += [{"published": group} for group in groups]
    return {**declared, "databases": chosen, "properties": properties, "rows": rows}
