"""The options of a run: what configs and the command line may set, checked before it starts."""

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import SynthDistillError, nearest

PRECISIONS = {
    "auto": "auto",
    "32": "32",
    "fp32": "32",
    "float32": "32",
    "32-true": "32",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "bf16-mixed": "bf16",
    "16": "16",
    "fp16": "16",
    "float16": "16",
    "16-mixed": "16",
}
"""Spellings of ``--precision`` and what each means."""


@dataclass(frozen=True)
class Options:
    """Everything that a run depends on. The defaults are the paper's recipe.

    Parameters
    ----------
    student
        ``tinyfar-a``, ``tinyfar-b``, ``tinyfar-c``, any timm model name, or a callable (such as a
        partial) that gives a module from faces to embeddings.
    generator
        A StyleGAN2 file (NVIDIA's pickle or our safetensors). None takes what
        ``bob config set bob.paper.ijcb2023_synthdistill.generator PATH`` says.
    teacher
        An ArcFace IResNet file. None takes ``bob.paper.ijcb2023_synthdistill.teacher``.
    initialisation
        The student's start: ``imagenet``, ``random`` or a file.
    sampling
        Re-sampling strategy: ``dynamic``, ``static``, ``none``, ``z-space``, ``hard``, or an
        object with a method ``resample``.
    resampling_coefficient
        How far well-matched images move in latent space.
    loss
        ``mse``, ``cosine``, weights such as ``mse=1,cosine=10``, or a function of two batches.
    optimizer
        Callable from parameters to an optimizer. None is Adam with learning rate 1e-3.
    scheduler
        Callable from the optimizer to a schedule stepped once an epoch. None is StepLR: half the
        learning rate every 10 epochs.
    method
        ``distillation`` (the paper), or a callable that makes another iteration: see
        ``toyfaces.supervised``.
    epochs
        Epochs of the whole run. 0 writes the initial student only.
    images_per_epoch
        Fresh images an epoch (rounded down to whole batches); as many are re-sampled.
    batch_size
        Images of one update, over all devices.
    micro_batch_size
        Images that a device holds at a time; gradients are accumulated over the batch, and batch
        statistics are those of the pieces (of all devices), not of the batch. None: all.
    validation_images
        Fresh images for validation each epoch.
    truncation_psi
        Truncation of w towards its mean: 1 is none.
    noise_mode
        The generator's noise: ``random``, ``const`` or ``none``.
    seed
        Seed of everything random.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    devices
        Processes on this node, one for each device.
    num_nodes
        Nodes.
    sync_batchnorm
        Compute batch statistics over all devices, as one device with the whole batch would, so
        that the student does not depend on their number. None: where there are several. True
        computes in the same way on a single one. On CPUs a run on one and a run on several then
        learn the same student bit for bit, at twice the time: see ``divisible``.
    precision
        ``32``; ``bf16`` or ``16`` for the frozen networks, and on CUDA mixed precision for the
        student; ``auto`` runs half precision where the generator's file says so (the published
        run), which it does on CUDA only.
    plain
        Compute as the recipe is written, by the reference implementation, instead of by the fast
        path, which gives the same numbers but for rounding.
    compile
        Compile student and teacher with torch.compile in the first step: takes minutes on a CPU,
        and a C++ compiler.
    checkpoint_minutes
        Minutes between checkpoints within an epoch.
    checkpoint_steps
        Iterations between checkpoints within an epoch, besides the minutes. None: by time only.
    """

    student: str | Callable[..., Any] = ""
    generator: Path | None = None
    teacher: Path | None = None
    initialisation: str | Path = "imagenet"
    sampling: Any = "dynamic"
    resampling_coefficient: float = 1.0
    loss: Any = "mse"
    optimizer: Callable[..., Any] | None = None
    scheduler: Callable[..., Any] | None = None
    method: Any = "distillation"
    epochs: int = 21
    images_per_epoch: int = 1_000_000
    batch_size: int = 128
    micro_batch_size: int | None = None
    validation_images: int = 78 * 128
    truncation_psi: float = 1.0
    noise_mode: str = "random"
    seed: int = 2021
    device: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    sync_batchnorm: bool | None = None
    precision: str = "auto"
    plain: bool = False
    compile: bool = False
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        """Check types and ranges.

        Raises
        ------
        SynthDistillError
            A value cannot be: the message names it and says what was expected.
        """
        if not self.student or not (isinstance(self.student, str) or callable(self.student)):
            raise _wrong("student", "the name of a student, such as tinyfar-a", self.student)
        for name in ("optimizer", "scheduler"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise _wrong(name, "a callable, such as partial(torch.optim.Adam, lr=1e-3)", value)
        if self.method != "distillation" and not callable(self.method):
            raise _wrong("method", "'distillation' or a callable", self.method)
        for name, least in _LEAST_INTEGER.items():
            value = getattr(self, name)
            optional = name in ("micro_batch_size", "checkpoint_steps")
            if value is None and optional:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise _wrong(name, f"a whole number of at least {least}", value)
        for name in ("resampling_coefficient", "truncation_psi", "checkpoint_minutes"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
                raise _wrong(name, "a number", value)
        if self.sync_batchnorm is not None and not isinstance(self.sync_batchnorm, bool):
            raise _wrong("sync_batchnorm", "True, False or None", self.sync_batchnorm)
        for name in ("plain", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, "True or False", getattr(self, name))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                hint = nearest(str(getattr(self, name)), choices)
                raise _wrong(name, "one of " + ", ".join(choices), getattr(self, name), hint)
        for name in ("generator", "teacher"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str | Path):
                raise _wrong(name, "the path of a file", value)
        if not isinstance(self.initialisation, str | Path):
            raise _wrong("initialisation", "'imagenet', 'random' or a file", self.initialisation)
        if self.images_per_epoch < self.batch_size:
            raise _wrong(
                "images_per_epoch",
                f"at least one batch ({self.batch_size} images: see batch_size)",
                self.images_per_epoch,
            )
        world = self.devices * self.num_nodes
        if self.batch_size % world:
            raise _wrong(
                "batch_size", f"a multiple of the {world} devices that share it", self.batch_size
            )
        object.__setattr__(self, "precision", PRECISIONS[self.precision])

    @property
    def iterations_per_epoch(self) -> int:
        """Iterations an epoch, each of one fresh and one re-sampled batch."""
        return self.images_per_epoch // self.batch_size

    @property
    def iterations(self) -> int:
        """Iterations of the whole run."""
        return self.epochs * self.iterations_per_epoch

    @property
    def images(self) -> int:
        """Images of the whole run, fresh and re-sampled."""
        return 2 * self.iterations * self.batch_size

    def describe(self) -> dict[str, Any]:
        """Give every option as plain values that JSON can hold."""
        plain = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        # None and True differ by rounding only: runs that are there, with true, stay current
        return plain | {"sync_batchnorm": self.sync_batchnorm is not False}


_LEAST_INTEGER = {
    "epochs": 0,
    "images_per_epoch": 1,
    "batch_size": 1,
    "micro_batch_size": 1,
    "validation_images": 0,
    "seed": 0,
    "devices": 1,
    "num_nodes": 1,
    "checkpoint_steps": 1,
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "noise_mode": ("random", "const", "none"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": tuple(PRECISIONS),
}


def _wrong(name: str, expected: str, found: object, hint: str = "") -> SynthDistillError:
    return SynthDistillError(f"option {name}: expected {expected}, found {found!r}.{hint}")


def _plain(value: Any) -> Any:
    """Describe a value by what JSON can hold, the same in every process."""
    if isinstance(value, functools.partial):
        arguments = [repr(_plain(v)) for v in value.args]
        arguments += [f"{k}={_plain(v)!r}" for k, v in value.keywords.items()]
        return f"{_plain(value.func)}({', '.join(arguments)})"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"name": _plain(type(value)), **fields}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _plain(type(value))


def names() -> list[str]:
    """List the names that a config may set."""
    return [field.name for field in dataclasses.fields(Options)]


def check_names(context: Mapping[str, Any]) -> None:
    """Refuse names in a config that no option has: a mistyped one would be silently ignored.

    Modules, classes and functions under their own names (imports and definitions), names in upper
    case and names that begin with an underscore are the config's own business.

    Raises
    ------
    SynthDistillError
        A name is unknown; the nearest valid one is given.
    """
    known = names()
    for name, value in context.items():
        if name in known or name.startswith("_") or name.isupper():
            continue
        if isinstance(value, types.ModuleType) or getattr(value, "__name__", None) == name:
            continue
        raise SynthDistillError(
            f"unknown name in config: {name!r} is no option.{nearest(name, known)} "
            f"Options: {', '.join(known)}. Names of your own begin with an underscore."
        )


def load_configs(configs: Sequence[str]) -> dict[str, Any]:
    """Load one or more configs, each seeing the names of those before it.

    Parameters
    ----------
    configs
        Paths, module names or names of the entry-point group ``synthdistill.config``.

    Returns
    -------
        The names that the configs set.

    Raises
    ------
    SynthDistillError
        A config does not exist, cannot be executed, or sets an unknown name.
    """
    import traceback

    from clapper.config import load, mod_to_context, resource_keys

    known = sorted(resource_keys("synthdistill.config"))
    for config in configs:
        if Path(config).suffix == ".py" and not Path(config).is_file():
            raise SynthDistillError(f"config {config} does not exist")
        if not Path(config).is_file() and "." not in config and config not in known:
            raise SynthDistillError(
                f"unknown config {config!r}: it is no file and no name.{nearest(config, known)} "
                f"Names: {', '.join(known)}."
            )
    try:
        context = mod_to_context(load(list(configs), entry_point_group="synthdistill.config"))
    except SynthDistillError:
        raise
    except SyntaxError as error:
        raise SynthDistillError(
            f"config {error.filename}, line {error.lineno}: {error.msg}: {error.text or ''}".strip()
        ) from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = [f for f in frames if f.name == "<module>" and f.line is not None]
        # the last module-level frame is the line of the config itself
        place = f"{where[-1].filename}, line {where[-1].lineno}: " if where else ""
        hint = "" if place else f" Configs by name: {', '.join(known)}."
        raise SynthDistillError(
            f"cannot load config {' '.join(map(str, configs))}: {place}"
            f"{type(error).__name__}: {error}.{hint}"
        ) from error
    check_names(context)
    return {name: context[name] for name in names() if name in context}


def resolve(configs: Sequence[str], **overrides: Any) -> Options:
    """Load configs and lay the command line's values over them.

    Parameters
    ----------
    configs
        As for :py:func:`load_configs`.
    **overrides
        Options that win over the configs.

    Returns
    -------
        The checked options.
    """
    return Options(**{**load_configs(configs), **overrides})
