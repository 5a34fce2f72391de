"""``synthdistill-train``: train a student from a generator and a teacher."""

import dataclasses
import inspect
import logging
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from clapper.click import ConfigCommand, CustomParamType, ResourceOption, verbosity_option

from ..distillation.options import CONFIGS, Options, load_configs, names
from ..files import SynthDistillError
from ..machine import wait_briefly

logger = logging.getLogger("bob.paper.ijcb2023_synthdistill")


class TrainCommand(ConfigCommand):
    """A command with configs whose mistakes are told in words, before anything is trained."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings["help"] = inspect.cleandoc(settings["help"])
        super().__init__(*args, entry_point_group=CONFIGS, **settings)
        for param in self.params:
            if isinstance(param, click.Argument):
                param.callback = self._load
            elif param.name == "dump_config":
                param.type = click.Path(path_type=Path, dir_okay=False)

    @staticmethod
    def _load(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:  # noqa: ARG004
        wait_briefly()
        context = load_configs(value)
        # types are checked before click converts them: 1.5 epochs would become 1
        Options(**{"student": "tinyfar-a", **context})
        ctx.config_context = context  # type: ignore[attr-defined]
        return value

    def dump_config(self, ctx: click.Context, param: click.Parameter, value: Path | None) -> None:  # noqa: ARG002
        """Write a template: every option as a comment, with its default and what it is."""
        if value is None:
            return
        lines = ['"""A training configuration: `synthdistill-train THIS_FILE.py -o FOLDER`."""']
        for option in self.params:
            if isinstance(option, ResourceOption):
                lines += ["", *(f"# {line}" for line in textwrap.wrap(option.help or "", 96))]
                lines += [f"# {option.name} = {option.default!r}"]
        try:
            with value.open("x") as stream:
                stream.write("\n".join(lines) + "\n")
        except OSError as error:
            raise SynthDistillError(f"cannot write {value}: {error.strerror}") from error
        click.echo(f"wrote the template {value}")
        ctx.exit()


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each field of ``Options``, which a config may set as well."""
    for field in reversed(dataclasses.fields(Options)):
        flag = "--" + field.name.replace("_", "-")
        # what may be an object in a config is taken as it is
        kind = field.metadata["reads"] or CustomParamType()
        if kind is click.BOOL:
            flag, kind = f"{flag}/--no-{flag[2:]}", None
        default = None if field.name == "student" else field.default
        command = click.option(
            flag,
            cls=ResourceOption,
            default=default,
            show_default=default is not None,
            type=kind,
            help=field.metadata["about"],
        )(command)
    return command


@click.command(
    cls=TrainCommand,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    synthdistill-train tinyfar-a -o results/tinyfar-a
    synthdistill-train tinyfar-a --sampling static --seed 1 -o results/static
    synthdistill-train toyfaces -o results/toyfaces
    synthdistill-train -H mine.py
""",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The run folder. The same command goes on with an interrupted run that it holds.",
)
@run_options
@click.option(
    "--restart",
    is_flag=True,
    help="Begin anew: what the folder holds is moved to FOLDER/before-1 (2, 3, ...). Not for a job "
    "that a scheduler queues again: it would never end.",
)
@click.option("--dry-run", is_flag=True, help="Print the resolved run and stop.")
@verbosity_option(logger, dflt=2, expose_value=False)
def train(
    output: Path, restart: bool, dry_run: bool, config: tuple[str, ...], **values: Any
) -> None:
    """Train a face recogniser on generated faces only.

    A generator makes faces inside the loop, a teacher and a student embed them, the student learns
    the teacher's embedding. Faces that both agree on are moved far in latent space, hard ones a
    little, and trained on again (dynamic sampling). One process on a folder at a time; SIGTERM,
    SIGUSR1 and SIGUSR2 (exit code 99) and Ctrl-C (130) finish the step and save.
    """
    if not logger.handlers:  # once, however often the command runs in a process
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False
    if not values["student"]:
        raise SynthDistillError(
            "nothing to train: name a config, such as `synthdistill-train toyfaces -o FOLDER`, "
            "or a student with --student"
        )
    options = Options(**{name: values[name] for name in names()})
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
