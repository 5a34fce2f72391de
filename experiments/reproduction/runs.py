"""A training run of a table: its folder, its command, and whether it is there and current."""

import csv
import enum
import functools
import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bob.paper.ijcb2023_synthdistill.distillation.options import Options, resolve
from bob.paper.ijcb2023_synthdistill.distillation.run_folder import FREE_OPTIONS, RunFolder
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, sha256

from .declarations import Declaration, DeclaredRow


class State(enum.Enum):
    """What a run's folder holds."""

    MISSING = "to train"
    UNFINISHED = "to resume"
    CHANGED = "to train again: its options changed"
    DONE = "there and current"


@dataclass(frozen=True)
class Run:
    """One training.

    Parameters
    ----------
    configs
        Chained training configs: names or paths.
    seed
        Its seed.
    folder
        The run folder.
    overrides
        Options of the command line, such as ``epochs``.
    free
        Options of the command line that do not change what is learned, such as ``device``.
    """

    configs: tuple[str, ...]
    seed: int
    folder: Path
    overrides: tuple[tuple[str, Any], ...] = ()
    free: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The folder's name: configs and seed."""
        return self.folder.name

    @property
    def student(self) -> Path:
        """The student's file."""
        return RunFolder(self.folder).student

    def command(self) -> list[str]:
        """Give the exact command that trains, or goes on with, this run."""
        words = ["synthdistill-train", *self.configs, "--output", str(self.folder)]
        for name, value in (("seed", self.seed), *self.overrides, *self.free):
            words += [f"--{name.replace('_', '-')}", str(value)]
        return words

    def process(self) -> list[str]:
        """Give the command as this Python runs it, wherever its scripts are installed."""
        # as a module: with several devices Fabric runs the same module again for each
        module = "bob.paper.ijcb2023_synthdistill.scripts.train"
        return [sys.executable, "-m", module, *self.command()[1:]]

    @functools.cached_property
    def options(self) -> Options:
        """The resolved options.

        Raises
        ------
        SynthDistillError
            A config is wrong.
        """
        return resolve(self.configs, seed=self.seed, **dict((*self.overrides, *self.free)))

    def images_done(self) -> int:
        """Count the images, fresh and re-sampled, of the epochs in the run's log."""
        return int(_last_row(self.folder).get("images", 0))

    def epochs_done(self) -> int:
        """Give the last epoch in the run's log."""
        return int(_last_row(self.folder).get("epoch", 0))

    def state(self) -> State:
        """Say whether the student is there, and of these very options."""
        folder = RunFolder(self.folder)
        try:
            before = folder.read_options()
        except FileNotFoundError:
            return State.MISSING
        now = _describe(self.options)
        names = (before.keys() | now.keys()) - FREE_OPTIONS - {"epochs"}
        longer = before.get("epochs", 0) < self.options.epochs
        if before.get("epochs") != self.options.epochs and not longer:
            return State.CHANGED
        if any(before.get(name) != now.get(name) for name in names if now.get(name) != UNKNOWN):
            return State.CHANGED
        if folder.student.is_file() and self.epochs_done() == self.options.epochs:
            return State.DONE
        return State.UNFINISHED

    def set_aside(self) -> Path:
        """Move a run of other options away, so that nothing that took days is lost.

        Returns
        -------
            Its new folder.
        """
        digest = sha256(RunFolder(self.folder).options)[:8]
        place = self.folder.with_name(f".{self.folder.name}.before-{digest}")
        number = 1
        while place.exists():
            number += 1
            place = self.folder.with_name(f".{self.folder.name}.before-{digest}-{number}")
        self.folder.rename(place)
        return place


UNKNOWN = "a file that is not on this machine"


def _describe(options: Options) -> dict[str, Any]:
    """Give the options as ``options.json`` holds them: files by their content."""
    from bob.paper.ijcb2023_synthdistill.files import GENERATOR, TEACHER, configured_path

    plain = json.loads(json.dumps(options.describe()))
    for name, key in (("generator", GENERATOR), ("teacher", TEACHER)):
        path = getattr(options, name)
        if path is None and options.method == "distillation":
            path = configured_path(key)
        if path is not None:
            path = Path(path).expanduser()
            # trained elsewhere: what cannot be compared does not make it another run
            plain[name] = _digest(path, path.stat().st_mtime_ns) if path.is_file() else UNKNOWN
        elif options.method == "distillation":
            plain[name] = UNKNOWN
    return plain


@functools.cache
def _digest(path: Path, modified: int) -> str:  # noqa: ARG001
    return sha256(path)


def _last_row(folder: Path) -> dict[str, str]:
    try:
        with RunFolder(folder).log.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, csv.Error) as error:
        raise SynthDistillError(f"cannot read the training log in {folder}: {error}") from error
    return rows[-1] if rows else {}


@dataclass(frozen=True)
class Settings:
    """What the command line of `reproduce.py` says of every training.

    Parameters
    ----------
    results
        The folder under which everything goes.
    seeds
        Each row is trained once for each.
    configs
        The user's configs, chained behind each row's student and before the row's changes.
    overrides
        Options that win over all configs.
    free
        Options that do not change what is learned.
    """

    results: Path
    seeds: tuple[int, ...]
    configs: tuple[str, ...] = ()
    overrides: dict[str, Any] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)


def runs_of(row: DeclaredRow, declaration: Declaration, settings: Settings) -> list[Run]:
    """Give the trainings of a row, one for each seed; none for a model that is there.

    Rows with the same configs give the same runs, in whatever table they stand: what the tables
    share is trained once.

    Parameters
    ----------
    row
        The row.
    declaration
        Its table.
    settings
        Of the command line.
    """
    student, *changes = row.configs(declaration.variant) or ("",)
    if not student:
        return []
    configs = (student, *settings.configs, *changes)
    overrides = dict(settings.overrides)
    if row.epochs is not None:
        overrides["epochs"] = row.epochs
    stem = "-".join(Path(config).stem if config.endswith(".py") else config for config in configs)
    # a run with other options is another run
    changed = [f"{name.replace('_', '-')}-{value}" for name, value in overrides.items()]
    return [
        Run(
            configs=configs,
            seed=seed,
            folder=settings.results / "-".join([stem, *changed, f"seed-{seed}"]),
            overrides=tuple(overrides.items()),
            free=tuple(settings.free.items()),
        )
        for seed in settings.seeds
    ]


def shell(words: list[str]) -> str:
    """Write a command as it is typed."""
    return shlex.join(words)


def with_scheduler(template: str, run: Run) -> list[str]:
    """Put a training's command into the user's submit command.

    Parameters
    ----------
    template
        Such as ``sbatch --gres gpu:1 --job-name {name} --wrap {command}``, or, for a scheduler that
        takes the command as separate words, ``qsub -b y -N {name} {arguments}``.
    run
        The training.

    Returns
    -------
        The words of the submit command; no shell is involved.

    Raises
    ------
    SynthDistillError
        The template has no place for the command.
    """
    words = shlex.split(template)
    if not any("{command}" in word or word == "{arguments}" for word in words):
        raise SynthDistillError(
            "--submit needs a place for the training's command: {command} (one word, as in "
            "`sbatch --wrap {command}`) or {arguments} (its words, as in `qsub -b y {arguments}`)"
        )
    command = run.command()
    filled: list[str] = []
    for word in words:
        if word == "{arguments}":
            filled += command
        else:
            filled.append(word.replace("{command}", shell(command)).replace("{name}", run.name))
    return filled
