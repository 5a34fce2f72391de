#!/usr/bin/env python
"""Reproduce a table: train, evaluate and print it, doing only what is not there and current."""

import json
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import click
from declarations import Declaration, declared_tables, load_declaration
from plan import PlannedModel, plan
from processes import run_command
from runs import Run, Settings, State, shell, with_scheduler

from bob.paper.ijcb2023_synthdistill.errors import SynthDistillError
from bob.paper.ijcb2023_synthdistill.files import atomic_write

logger = logging.getLogger("bob.paper.ijcb2023_synthdistill")

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
        show_plan(models, declarations, _rate(rate, benchmark))
        return
    failures = train_all(models, settings, submit=submit, resubmit=resubmit)
    failures += evaluate_all(models, declarations[0].variant.benchmarks, dask_client)
    failures += print_tables(declarations, settings, plots=plots)
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if failures:
        sys.exit(1)


def show_log() -> None:
    """Show what the package tells of its work, and not what concerns developers of others."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    # our pipelines have nothing to fit, and Bob warns of it for each of them
    logging.getLogger("bob.bio.base").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"dask|dask_ml|bob\.")


def _rate(rate: float | None, benchmark: Path | None) -> float | None:
    """Take the rate from where the user gave it: it is never guessed."""
    if rate is not None or benchmark is None:
        return rate
    try:
        return float(json.loads(benchmark.read_text(encoding="utf-8"))["images_per_second"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthDistillError(
            f"{benchmark} is not the output of `synthdistill-benchmark --json`: it has no number "
            f"images_per_second ({error!r})"
        ) from error


def show_plan(
    models: Sequence[PlannedModel], declarations: Sequence[Declaration], rate: float | None
) -> None:
    """Print what would be done: commands, images and, from a given rate, hours."""
    from scores import missing_scores

    benchmarks = declarations[0].variant.benchmarks
    total = trainings = 0
    click.echo(f"{'images':>14} {'hours':>8}  step")
    for model in models:
        run = model.run
        if run is not None:
            state = run.state()
            if state is State.DONE:
                click.echo(f"{'-':>14} {'-':>8}  skip: {run.name} is {state.value}")
            else:
                images = run.options.images
                images -= run.images_done() if state is State.UNFINISHED else 0
                total, trainings = total + images, trainings + 1
                hours = "" if rate is None else f"{images / rate / 3600:.2f}"
                click.echo(f"{images:14,} {hours:>8}  {shell(run.command())}  ({state.value})")
        elif model.file is None:
            click.echo(f"{'':>14} {'':>8}  {model.folder.name}: not configured on this machine")
        missing = missing_scores(model, benchmarks) if model.ready else list(benchmarks)
        if missing:
            click.echo(f"{'':>14} {'':>8}  evaluate {model.folder.name} on {', '.join(missing)}")
        else:
            click.echo(f"{'-':>14} {'-':>8}  skip: all scores of {model.folder.name} are current")
    for declaration in declarations:
        click.echo(f"{'':>14} {'':>8}  print {declaration.name} ({declaration.variant.name})")
    hours = "unknown: give --rate or --benchmark" if rate is None else f"{total / rate / 3600:,.1f}"
    click.echo(f"{total:14,} images in {trainings} trainings; hours: {hours}")
    if rate is not None:
        click.echo(f"{'':>14} hours of one device at {rate:g} images/s, fresh and re-sampled")


def train_all(
    models: Sequence[PlannedModel],
    settings: Settings,
    *,
    submit: str | None = None,
    resubmit: bool = False,
) -> list[str]:
    """Train every run that is not there and current, or submit it.

    Returns
    -------
        What failed, a sentence each. A training that may fail is no failure.
    """
    runs = [(model.run, model.optional) for model in models if model.run is not None]
    failures = []
    for number, (run, optional) in enumerate(runs, 1):
        head = f"[train {number}/{len(runs)}] {run.name}"
        try:
            state = run.state()
            if state is State.DONE:
                click.echo(f"{head}: {state.value}, skipped")
                continue
            click.echo(f"{head}: {state.value}")
            if state is State.CHANGED:
                click.echo(f"  the old run is kept in {run.set_aside()}")
            click.echo(f"  {shell(run.command())}")
            if submit is not None:
                _submit(run, settings, submit, resubmit=resubmit)
                continue
            status = run_command(run.process())
        except SynthDistillError as error:
            failures.append(f"{run.name}: {error.message}")
            continue
        if status in (99, 130):
            raise SynthDistillError(
                f"the training of {run.name} was stopped and saved: the same command goes on"
            )
        if status and optional:
            click.echo(f"{head}: not trained, its row stays empty: {optional}", err=True)
        elif status:
            failures.append(
                f"the training of {run.name} ended with status {status}: its words stand above; "
                "the same command goes on from what was saved"
            )
    return failures


def _submit(run: Run, settings: Settings, template: str, *, resubmit: bool) -> None:
    """Hand a training to the scheduler, once."""
    stamp = settings.results / ".submitted" / f"{run.name}.json"
    words = with_scheduler(template, run)
    if stamp.is_file() and not resubmit:
        try:
            when = json.loads(stamp.read_text(encoding="utf-8"))["when"]
        except (OSError, ValueError, KeyError, TypeError):
            when = "earlier"
        click.echo(f"  submitted {when}, not again (--resubmit does)")
        return
    click.echo(f"  {shell(words)}")
    status = run_command(words)
    if status:
        raise SynthDistillError(f"{words[0]} ended with status {status}: nothing was submitted")
    record = {"when": time.strftime("%Y-%m-%d %H:%M:%S"), "command": shell(words)}
    with atomic_write(stamp) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def evaluate_all(
    models: Sequence[PlannedModel], benchmarks: Sequence[str], dask_client: str | None = None
) -> list[str]:
    """Evaluate every model that is ready on every benchmark whose scores are not current.

    Returns
    -------
        What failed, a sentence each.
    """
    from scores import evaluate_missing

    ready, failures = [], []
    for model in models:
        if model.ready:
            ready.append(model)
        elif model.run is None:
            failures.append(
                f"the model {model.file or model.folder.name} is not on this machine: its row "
                "stays empty (synthdistill-fetch --check says what is missing)"
            )
    return failures + evaluate_missing(ready, benchmarks, dask_client)


def print_tables(
    declarations: Sequence[Declaration], settings: Settings, *, plots: bool = True
) -> list[str]:
    """Print each table and write it with its plots under RESULTS/tables.

    Returns
    -------
        What could not be measured, a sentence each.
    """
    from assemble import assemble
    from scores import open_benchmark

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
