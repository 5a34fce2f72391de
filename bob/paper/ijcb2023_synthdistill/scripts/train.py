"""``synthdistill-train``: train a student from a generator and a teacher."""

import dataclasses
import inspect
import logging
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import click
from clapper.click import ConfigCommand, CustomParamType, ResourceOption, verbosity_option

from ..distillation.options import Options, load_configs, names
from ..files import SynthDistillError

logger = logging.getLogger("bob.paper.ijcb2023_synthdistill")

GROUP = "synthdistill.config"


class TrainCommand(ConfigCommand):
    """A command with configs whose mistakes are told in words, before anything is trained."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings["help"] = inspect.cleandoc(settings["help"])
        super().__init__(*args, entry_point_group=GROUP, **settings)
        argument = next(param for param in self.params if isinstance(param, click.Argument))
        argument.callback = self._load

    @staticmethod
    def _load(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:  # noqa: ARG004
        context = load_configs(value)
        # types are checked before click converts them: 1.5 epochs would become 1
        Options(**{"student": "tinyfar-a", **context})
        ctx.config_context = context  # type: ignore[attr-defined]
        return value

    def dump_config(self, ctx: click.Context, param: click.Parameter, value: TextIO | None) -> None:  # noqa: ARG002
        """Write a template: every option as a comment, with its default and what it is."""
        if value is None:
            return
        value.write(
            '"""A training configuration: `synthdistill-train THIS_FILE.py -o FOLDER`."""\n'
        )
        for option in self.params:
            if isinstance(option, ResourceOption):
                text = textwrap.wrap(option.help or "", 96)
                value.write("\n" + "".join(f"# {line}\n" for line in text))
                value.write(f"# {option.name} = {option.default!r}\n")
        click.echo(f"wrote the template {value.name}")
        ctx.exit()


_CUSTOM = CustomParamType()
_PATH = click.Path(path_type=Path)
_TYPES: Mapping[str, Any] = {
    "generator": _PATH,
    "teacher": _PATH,
    "resampling_coefficient": float,
    "epochs": int,
    "images_per_epoch": int,
    "batch_size": int,
    "micro_batch_size": int,
    "validation_images": int,
    "truncation_psi": float,
    "noise_mode": str,
    "seed": int,
    "device": str,
    "devices": int,
    "num_nodes": int,
    "precision": str,
    "checkpoint_minutes": float,
    "checkpoint_steps": int,
}
"""How the command line is read. The other options may be objects in a config: taken as they are."""


def _help() -> dict[str, str]:
    """Take each option's help from where it is documented: the docstring of ``Options``."""
    texts: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent("    " + (Options.__doc__ or "")).splitlines():
        stripped = line.strip()
        if stripped in {field.name for field in dataclasses.fields(Options)}:
            name = stripped
        elif name and stripped:
            texts[name] = f"{texts.get(name, '')} {stripped}".strip().replace("``", "")
    return texts


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each field of ``Options``, which a config may set as well."""
    texts = _help()
    for field in reversed(dataclasses.fields(Options)):
        flag = "--" + field.name.replace("_", "-")
        settings: dict[str, Any] = {"default": field.default, "help": texts[field.name]}
        if field.name == "student":
            settings["default"] = None
        if field.type in (bool, bool | None):
            flag = f"{flag}/--no-{flag[2:]}"
        else:
            settings["type"] = _TYPES.get(field.name, _CUSTOM)
        show = settings["default"] is not None
        command = click.option(flag, cls=ResourceOption, show_default=show, **settings)(command)
    return command


@click.command(
    cls=TrainCommand,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    synthdistill-train tinyfar-a -o results/tinyfar-a
    synthdistill-train tinyfar-a sampling-static --seed 1 -o results/static
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
@click.option("--dry-run", is_flag=True, help="Print the resolved run and stop.")
@verbosity_option(logger, dflt=2, expose_value=False)
def train(output: Path, dry_run: bool, config: tuple[str, ...], **values: Any) -> None:
    """Train a face recogniser on generated faces only.

    A generator makes faces inside the loop, a teacher and a student embed them, the student learns
    the teacher's embedding. Faces that both agree on are moved far in latent space, hard ones a
    little, and trained on again (dynamic sampling). One process on a folder at a time; SIGTERM,
    SIGUSR1 and SIGUSR2 (exit code 99) and Ctrl-C (130) finish the step and save.
    """
    _log_to_stderr()
    if not values["student"]:
        raise SynthDistillError(
            "nothing to train: name a config, such as `synthdistill-train toyfaces -o FOLDER`, "
            "or a student with --student"
        )
    options = Options(**{name: values[name] for name in names()})

    from ..distillation.networks import find_files

    if options.method == "distillation":
        options = find_files(options)
    if dry_run:
        from ..distillation.plan import describe_plan

        click.echo(describe_plan(options, output, config))
        return

    from ..allocator import keep_buffers
    from ..distillation.loop import train as run
    from ..distillation.stopping import Stop

    keep_buffers()
    with Stop().listen() as stop:
        progress = run(options, output, stop)
    if not progress.finished(options):
        logger.info(
            "stopped after %d of %d iterations, saved: the same command goes on",
            progress.iteration,
            options.iterations,
        )
        sys.exit(stop.code)
    logger.info("finished: %s", output / "student.safetensors")


def _log_to_stderr() -> None:
    """Show our log, once however often the command runs in a process."""
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


if __name__ == "__main__":
    # several processes are started by running the same module again: `python -m` makes that work
    train(prog_name="synthdistill-train")
