"""Say what would be done: commands, images and, from a rate that the user gives, hours."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

from .declarations import Declaration
from .plan import PlannedModel
from .runs import State, shell
from .scores import missing_scores


def read_rate(rate: float | None, benchmark: Path | None) -> float | None:
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
