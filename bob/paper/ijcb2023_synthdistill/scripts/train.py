"""``synthdistill-train``: train a student from a generator and a teacher."""

import dataclasses
import logging
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from clapper.click import verbosity_option
from click.core import ParameterSource

from ..distillation.options import Options, load_configs, names
from ..files import SynthDistillError
from ..machine import wait_briefly
from . import FOLDER, PATH, command

logger = logging.getLogger("bob.paper.ijcb2023_synthdistill")


def run_options(*chosen: str) -> Callable[..., Any]:
    """Give a command one option for each of these fields of ``Options``."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed(dataclasses.fields(Options)):
            if field.name not in chosen:
                continue
            flag = "--" + field.name.replace("_", "-")
            # what may be an object in a config is taken as it is
            kind = field.metadata["reads"] or click.UNPROCESSED
            if kind is click.BOOL:
                flag, kind = f"{flag}/--no-{flag[2:]}", None
            default = None if field.name == "student" else field.default
            option = click.option(flag, default=default, type=kind, help=field.metadata["about"])
            function = option(function)
        return function

    return add


def resolve(ctx: click.Context) -> Options:
    """Take what the configs set, and before them what the command line does."""
    values = load_configs(ctx.params["config"])
    for name in names():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            values[name] = ctx.params[name]
    if "student" not in values:
        raise SynthDistillError(
            "nothing to train: name a config, such as `synthdistill-train toyfaces -o FOLDER`, "
            "or a student with --student"
        )
    return Options(**values)


def write_template(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Write every option as a comment, with its default and what it is."""
    if path is None:
        return
    lines = ['"""A training configuration: `synthdistill-train THIS_FILE.py -o FOLDER`."""']
    for field in dataclasses.fields(Options):
        lines += ["", *(f"# {line}" for line in textwrap.wrap(field.metadata["about"], 96))]
        lines += [f"# {field.name} = {field.default!r}"]
    try:
        with path.open("x") as stream:
            stream.write("\n".join(lines) + "\n")
    except OSError as error:
        raise SynthDistillError(f"cannot write {path}: {error.strerror}") from error
    click.echo(f"wrote the template {path}")
    ctx.exit()


@command(
    "synthdistill-train tinyfar-a -o results/tinyfar-a",
    "synthdistill-train tinyfar-a --sampling static --seed 1 -o results/static",
    "synthdistill-train toyfaces -o results/toyfaces",
    "synthdistill-train -H mine.py",
)
@click.argument("config", metavar="[CONFIG]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    required=True,
    type=FOLDER,
    help="The run folder. The same command goes on with an interrupted run that it holds.",
)
@run_options(*names())
@click.option(
    "--restart",
    is_flag=True,
    help="Begin anew: what the folder holds is moved to FOLDER/before-1 (2, 3, ...). Not for a job "
    "that a scheduler queues again: it would never end.",
)
@click.option("--dry-run", is_flag=True, help="Print the resolved run and stop.")
@click.option(
    "-H",
    "--dump-config",
    type=PATH,
    is_eager=True,
    expose_value=False,
    callback=write_template,
    help="Write a template of a config into this file and stop.",
)
@verbosity_option(logger, dflt=2, expose_value=False)
@click.pass_context
def train(
    ctx: click.Context,
    config: tuple[str, ...],
    output: Path,
    restart: bool,
    dry_run: bool,
    **_: Any,
) -> None:
    """Train a face recogniser on generated faces only.

    A generator makes faces inside the loop, a teacher and a student embed them, the student learns
    the teacher's embedding. Faces that both agree on are moved far in latent space, hard ones a
    little, and trained on again (dynamic sampling). One process on a folder at a time; SIGTERM,
    SIGUSR1 and SIGUSR2 (exit code 99) and Ctrl-C (130) finish the step and save.

    A CONFIG is a Python file, or the name of one of ours or of a module, that sets the options
    below as variables. Of several, each sees those before it; the command line overrides all.
    """
    if not logger.handlers:  # once, however often the command runs in a process
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False
    wait_briefly()
    options = resolve(ctx)
    if dry_run:
        from ..distillation.plan import describe_plan

        click.echo(describe_plan(options, output, config))
        return

    from ..allocator import keep_buffers
    from ..distillation.loop import train as run
    from ..distillation.stopping import Stop

    keep_buffers()
    with Stop().listen() as stop:
        if not run(options, output, stop, config, restart):
            sys.exit(stop.code)


if __name__ == "__main__":
    # several processes are started by running the same module again: `python -m` makes that work
    train(prog_name="synthdistill-train")
