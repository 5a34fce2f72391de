#!/usr/bin/env python
"""Reproduce a table: train, evaluate and print it, doing only what is not there and current."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from reproduction.declarations import Declaration, declared_tables, load_declaration
from reproduction.plan import plan
from reproduction.runs import Settings

RESULTS = Path("results") / "reproduce"


class Seeds(click.ParamType):
    """Whole numbers with commas between them."""

    name = "N,N,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read the numbers."""
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(word.strip().isdecimal() for word in words) or len(set(words)) < len(words):
            self.fail("expected whole numbers, each once, such as 2021,2022,2023", param, ctx)
        return tuple(int(word) for word in words)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    python experiments/reproduce.py table3 --variant toyfaces --seeds 2021,2022,2023
    python experiments/reproduce.py all --variant real --dry-run --rate 600
    python experiments/reproduce.py table1 --variant real --device cuda --dask-client slurm
    python experiments/reproduce.py table1 --variant real \\
        --submit "sbatch --gres gpu:1 --job-name {name} --wrap {command}"
""",
)
@click.argument("tables", metavar="TABLE...", nargs=-1, required=True)
@click.option(
    "--variant",
    type=click.Choice(["toyfaces", "real"]),
    default="toyfaces",
    show_default=True,
    help="`toyfaces`: minutes on two cores. `real`: the paper's scale; needs weights and data.",
)
@click.option(
    "--seeds",
    default="2021",
    show_default=True,
    type=Seeds(),
    help="Each row is trained once for each; several give mean and deviation over seeds.",
)
@click.option(
    "-o",
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=RESULTS,
    show_default=True,
    help="Runs, scores and tables go to RESULTS/VARIANT.",
)
@click.option(
    "--config",
    "configs",
    multiple=True,
    help="A config of yours, chained behind each row's student and before the row's changes: "
    "where your generator is, a smaller batch. May be given several times.",
)
@click.option("--device", help="Handed on to synthdistill-train.")
@click.option("--devices", type=int, help="Handed on to synthdistill-train.")
@click.option("--precision", help="Handed on to synthdistill-train.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Trainings side by side, each with its share of the cores. Two of one thread each do more "
    "than one of two threads.",
)
@click.option(
    "--dask-client",
    help="Evaluate on a dask client of Bob's: local-parallel, sge, slurm ...  [default: none]",
)
@click.option(
    "--submit",
    metavar="TEMPLATE",
    help="Hand each training to your scheduler by this command instead of running it; {command}, "
    "or {arguments}, and {name} are filled in.",
)
@click.option("--resubmit", is_flag=True, help="Submit also what was submitted before.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option("--rate", type=float, help="Images/s of a training on your device, for --dry-run.")
@click.option(
    "--benchmark",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The output of `synthdistill-benchmark --json`, to take the rate from.",
)
@click.option("--plots/--no-plots", default=True, show_default=True)
def reproduce(
    tables: tuple[str, ...],
    variant: str,
    seeds: tuple[int, ...],
    results: Path,
    configs: tuple[str, ...],
    device: str | None,
    devices: int | None,
    precision: str | None,
    jobs: int,
    dask_client: str | None,
    submit: str | None,
    resubmit: bool,
    dry_run: bool,
    rate: float | None,
    benchmark: Path | None,
    plots: bool,
) -> None:
    """Train, evaluate and print TABLE... (table1 to table5, or `all`).

    A step whose output is there and current is skipped: a student whose run has the very options
    that the configs give now, scores made with that student from the benchmark that is configured
    now. So the same command goes on after an interruption, and redoes what a changed config, a
    removed or a damaged file makes necessary. Runs that tables share are trained once. A run of
    other options is moved aside, never deleted.
    """
    from reproduction.dry_run import read_rate, show_plan
    from reproduction.steps import evaluate_all, show_log, train_all

    if jobs > 1 and submit is not None:
        raise click.UsageError("--jobs is for trainings on this machine, --submit for a scheduler")
    show_log()
    known = [name for name in declared_tables() if name != "demo"]
    names = known if "all" in tables else list(dict.fromkeys(tables))
    declarations = [load_declaration(name, variant) for name in names]
    free = {"device": device, "devices": devices}
    settings = Settings(
        results=results / variant,
        seeds=seeds,
        configs=configs,
        overrides={} if precision is None else {"precision": precision},
        free={name: value for name, value in free.items() if value is not None},
    )
    models = plan(declarations, settings)
    if dry_run:
        show_plan(models, declarations, read_rate(rate, benchmark))
        return
    failures = train_all(models, settings, submit=submit, resubmit=resubmit, jobs=jobs)
    failures += evaluate_all(models, declarations[0].variant.benchmarks, dask_client)
    failures += print_tables(declarations, settings, plots=plots)
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if failures:
        sys.exit(1)


def print_tables(
    declarations: Sequence[Declaration], settings: Settings, *, plots: bool = True
) -> list[str]:
    """Print each table and write it with its plots under RESULTS/tables.

    Returns
    -------
        What could not be measured, a sentence each.
    """
    from reproduction.assemble import assemble
    from reproduction.scores import open_benchmark

    from bob.paper.ijcb2023_synthdistill.evaluation.results import ScoreReader
    from bob.paper.ijcb2023_synthdistill.evaluation.tables import to_markdown

    reader = ScoreReader(open_benchmark)
    problems: list[str] = []
    for declaration in declarations:
        folder = settings.results / "tables" / declaration.name
        report, written = assemble(declaration, settings, reader, folder, plots=plots)
        click.echo("\n" + to_markdown(report.table))
        names = [path.name for path in written if path.suffix not in (".png", ".pdf")]
        pictures = sum(path.suffix == ".png" for path in written)
        click.echo(f"{folder}: {', '.join(names)} and {pictures} plots (PNG and PDF)")
        problems += [problem for problem in report.problems if problem not in problems]
    return problems


if __name__ == "__main__":
    reproduce()
