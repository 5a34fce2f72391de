"""``synthdistill-table``: from results folders to tables and plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..benchmarks.benchmark import benchmarks
from ..evaluation.tables import METRICS, Quantity

if TYPE_CHECKING:
    from ..evaluation.results import Entry, Model


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    synthdistill-table results/
    synthdistill-table results/tinyfar-a results/static -o tables -d lfw -d cfp-fp
    synthdistill-table results/ --metric tar@1e-3 --no-plots --provenance
""",
)
@click.argument(
    "folders",
    metavar="FOLDER...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where table.md, table.tex, table.csv and the plots go.  [default: the first FOLDER]",
)
@click.option(
    "-d",
    "--database",
    "databases",
    multiple=True,
    type=click.Choice(list(benchmarks())),
    help="A benchmark to show; may be given several times.  [default: those that were evaluated]",
)
@click.option("-m", "--metric", type=click.Choice(METRICS), default="accuracy", show_default=True)
@click.option(
    "--published/--no-published",
    default=None,
    help="Whether published results stand below, in italics and with their sources.  [default: "
    "if a real benchmark is shown and the metric is accuracy]",
)
@click.option(
    "--complexity",
    is_flag=True,
    help="Columns for parameters, multiply-adds and file size of each student.",
)
@click.option(
    "--time",
    "timed",
    is_flag=True,
    help="A column for the time of one image on this CPU (one thread, batch 1); measured now.",
)
@click.option("--title", default="Measured here", show_default=True, help="The table's caption.")
@click.option("--plots/--no-plots", default=True, show_default=True, help="PNG and PDF plots.")
@click.option(
    "--provenance",
    is_flag=True,
    help="List the score file, model file and options.json behind each measured cell, with their "
    "hashes; also as provenance.txt.",
)
def table(
    folders: tuple[Path, ...],
    output: Path | None,
    databases: tuple[str, ...],
    metric: str,
    published: bool | None,
    complexity: bool,
    timed: bool,
    title: str,
    plots: bool,
    provenance: bool,
) -> None:
    """Make a table and plots of the results in FOLDER...

    A FOLDER holds models: MODEL/DATABASE/scores-dev.csv as Bob writes it with `-o MODEL/DATABASE`,
    beside MODEL/student.safetensors and MODEL/options.json where the model was trained here. A
    model's own folder may be given, too.

    A score file that is incomplete, corrupt, or not of the model beside it is named, its cell stays
    empty, and the exit status is 1.
    """
    from ..evaluation.properties import property_notes
    from ..evaluation.provenance import describe_provenance
    from ..evaluation.published import published_results
    from ..evaluation.report import draw_report, make_report
    from ..evaluation.results import ScoreReader, find_models
    from ..evaluation.tables import to_markdown, write_table
    from ..files import atomic_write

    models = find_models(folders)
    chosen = databases or _evaluated({name for model in models for name in model.scores})
    real = any(not benchmarks()[name].drawn for name in chosen)
    if published is None:
        published = real and metric == "accuracy"
    elif published and not (real and metric == "accuracy"):
        raise click.UsageError(
            "published results are accuracies on the real benchmarks: they cannot stand beside "
            f"{metric} on {', '.join(chosen)}"
        )
    entries, problems = _entries(models, complexity=complexity or timed, timed=timed)
    properties = ["training_data", "synthetic_images", "coefficient", "images"]
    properties += ["parameters", "multiply_adds", "file_size"] if complexity or timed else []
    properties += ["seconds"] if timed else []
    properties += ["mflops"] if published and complexity else []
    reader = ScoreReader()
    report = make_report(
        title,
        entries,
        chosen,
        reader,
        metric=metric,
        published=published_results() if published else (),
        properties=properties,
        notes=property_notes(set(properties)),
    )
    problems += report.problems
    output = output or folders[0]
    click.echo(to_markdown(report.table))
    written = write_table(report.table, output)
    if provenance:
        listing = describe_provenance(report.traced)
        click.echo(listing + "\n")
        with atomic_write(output / "provenance.txt") as temporary:
            temporary.write_text(listing + "\n", encoding="utf-8")
        written.append(output / "provenance.txt")
    if plots:
        written += draw_report(entries, chosen, reader, output)
    names = [path.name for path in written if path.suffix not in (".png", ".pdf")]
    pictures = sum(path.suffix == ".png" for path in written)
    click.echo(f"{output}: {', '.join(names)} and {pictures} plots (PNG and PDF)", err=True)
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)


def _entries(
    models: "Sequence[Model]", *, complexity: bool, timed: bool
) -> "tuple[list[Entry], list[str]]":
    """Make a row of each model, with its properties, and say what could not be read."""
    from ..evaluation.properties import model_properties, run_properties
    from ..evaluation.results import Entry
    from ..files import SynthDistillError

    entries, problems = [], []
    for model in models:
        values: dict[str, Quantity | str | None] = {}
        try:
            values |= run_properties(model.folder)
            student = model.folder / "student.safetensors"
            if complexity and student.is_file():
                values |= model_properties(student, "student", timed=timed)
        except SynthDistillError as error:
            problems.append(error.message)
        entries.append(Entry(model.name, [model], "measured here", values))
        for path in model.strange:
            click.echo(
                f"warning: {path} is left out: its folder is not named after a benchmark "
                f"({', '.join(benchmarks())})",
                err=True,
            )
    return entries, problems


def _evaluated(found: set[str]) -> tuple[str, ...]:
    """Give all five of each kind of which one was evaluated; the real ones where none was."""
    kinds = [
        tuple(name for name, benchmark in benchmarks().items() if benchmark.drawn is drawn)
        for drawn in (False, True)
    ]
    return sum([kind for kind in kinds if found.intersection(kind)] or kinds[:1], ())
