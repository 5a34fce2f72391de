"""The steps of a reproduction: train, evaluate; each does only what is not there and current."""

import json
import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, atomic_write

from .plan import PlannedModel
from .processes import Job, run_command, run_side_by_side, threads_of_each, was_stopped
from .runs import Run, Settings, State, shell, with_scheduler
from .scores import evaluate_missing
from .status_line import StatusLine


def show_log() -> None:
    """Show what the package tells of its work, and not what concerns developers of others."""
    # read by dask when it is imported, here and in its workers, which inherit both
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("bob.paper.ijcb2023_synthdistill").setLevel(logging.INFO)
    # which file each benchmark was found in: said again for each model that is evaluated on it
    logging.getLogger("bob.paper.ijcb2023_synthdistill.benchmarks").setLevel(logging.WARNING)
    # our pipelines have nothing to fit, and Bob warns of it for each of them
    logging.getLogger("bob.bio.base").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"dask|dask_ml|bob\.")


def train_all(
    models: Sequence[PlannedModel],
    settings: Settings,
    *,
    submit: str | None = None,
    resubmit: bool = False,
    jobs: int = 1,
) -> list[str]:
    """Train every run that is not there and current, or submit it.

    Parameters
    ----------
    models
        With the trainings behind them.
    settings
        Of the command line.
    submit, resubmit
        The scheduler's command, and whether it gets again what it got.
    jobs
        How many trainings run side by side on this machine. With several, each line of what they
        say begins with their name, and stands in ``RESULTS/logs/NAME.log``, too.

    Returns
    -------
        What failed, a sentence each. A training that may fail is no failure.

    Raises
    ------
    SynthDistillError
        A training was stopped; those beside it were stopped, too.
    """
    runs = [(model.run, model.optional) for model in models if model.run is not None]
    failures: list[str] = []
    queue: list[_Training] = []
    for number, (run, optional) in enumerate(runs, 1):
        training = _Training(run, optional, f"[train {number}/{len(runs)}] {run.name}")
        try:
            state = run.state()
            if state is State.DONE:
                click.echo(f"{training.head}: {state.value}, skipped")
                continue
            if jobs > 1 and submit is None:
                queue.append(training)
                continue
            _announce(training, state)
            if submit is not None:
                _submit(run, settings, submit, resubmit=resubmit)
                continue
            status = run_command(run.process())
        except SynthDistillError as error:
            failures.append(f"{run.name}: {error.message}")
            continue
        if was_stopped(status):
            raise SynthDistillError(
                f"the training of {run.name} was stopped: the same command goes on from what was "
                "saved"
            )
        failures += _failure(training, status, "its words stand above")
    return failures + (_train_side_by_side(queue, settings.results / "logs", jobs) if queue else [])


@dataclass(frozen=True)
class _Training:
    """A run, why it may fail, and how lines about it begin."""

    run: Run
    optional: str
    head: str


def _announce(training: _Training, state: State) -> None:
    """Say what is trained; move a run of other options away."""
    click.echo(f"{training.head}: {state.value}")
    if state is State.CHANGED:
        click.echo(f"  the old run is kept in {training.run.set_aside()}")
    click.echo(f"  {shell(training.run.command())}")


def _failure(training: _Training, status: int, where: str) -> list[str]:
    if status and training.optional:
        click.echo(
            f"{training.head}: not trained, its row stays empty: {training.optional}", err=True
        )
    elif status:
        return [
            f"the training of {training.run.name} ended with status {status}: {where}; the same "
            "command goes on from what was saved"
        ]
    return []


def _train_side_by_side(trainings: Sequence[_Training], logs: Path, at_a_time: int) -> list[str]:
    """Train several runs at a time; give what failed."""
    by_name = {training.run.name: training for training in trainings}
    failures: list[str] = []
    click.echo(
        f"{len(trainings)} trainings, {at_a_time} at a time with "
        f"{threads_of_each(at_a_time)} thread(s) each; what they say goes to {logs}/, too"
    )

    def begun(job: Job) -> None:
        training = by_name[job.name]
        line.clear()
        _announce(training, training.run.state())

    def ended(job: Job, status: int, seconds: float) -> None:
        training = by_name[job.name]
        line.clear()
        if was_stopped(status):
            click.echo(f"{training.head}: stopped")
        elif status:
            click.echo(f"{training.head}: failed, see {job.log}", err=True)
            failures.extend(_failure(training, status, f"its words stand in {job.log}"))
        else:
            click.echo(f"{training.head}: trained in {seconds:,.0f} s")

    def said(job: Job, text: str) -> None:
        line.clear()
        click.echo(f"{job.name}: {text}")

    def waiting(running: Sequence[Job]) -> None:
        runs = [by_name[job.name].run for job in running]
        line.show(", ".join(f"{run.name} {run.epochs_done()}/{run.options.epochs}" for run in runs))

    line = StatusLine("epochs: ")
    jobs = [Job(name, t.run.process(), logs / f"{name}.log") for name, t in by_name.items()]
    left = run_side_by_side(jobs, at_a_time, begun=begun, ended=ended, said=said, waiting=waiting)
    line.clear()
    if left:
        raise SynthDistillError(
            f"{len(left)} trainings were stopped or not begun: the same command goes on from what "
            "was saved"
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
