"""The steps of a reproduction: train, evaluate; each does only what is not there and current."""

import json
import logging
import os
import time
import warnings
from collections.abc import Sequence

import click

from bob.paper.ijcb2023_synthdistill.errors import SynthDistillError
from bob.paper.ijcb2023_synthdistill.files import atomic_write

from .plan import PlannedModel
from .processes import run_command
from .runs import Run, Settings, State, shell, with_scheduler
from .scores import evaluate_missing


def show_log() -> None:
    """Show what the package tells of its work, and not what concerns developers of others."""
    # read by dask when it is imported, here and in its workers, which inherit both
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("bob.paper.ijcb2023_synthdistill").setLevel(logging.INFO)
    # our pipelines have nothing to fit, and Bob warns of it for each of them
    logging.getLogger("bob.bio.base").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"dask|dask_ml|bob\.")


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
        # negative: killed before it could save and say so
        if status in (99, 130) or status < 0:
            raise SynthDistillError(
                f"the training of {run.name} was stopped: the same command goes on from what was "
                "saved"
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
