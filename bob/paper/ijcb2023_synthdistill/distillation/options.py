"""The options of a run: what configs and the command line may set, checked before it starts.

Each field of :py:class:`Options` carries its help, its range and how the command line reads it; the
command, the template of ``-H``, the checks and ``options.json`` are made from these.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..files import GENERATOR, TEACHER, SynthDistillError, nearest, require_path

CONFIGS = "synthdistill.config"
"""Entry-point group of the configs that have a name."""

PRECISIONS = {"auto": "auto"}
PRECISIONS |= dict.fromkeys(("32", "fp32", "float32", "32-true"), "32")
PRECISIONS |= dict.fromkeys(("bf16", "bfloat16", "bf16-mixed"), "bf16")
PRECISIONS |= dict.fromkeys(("16", "fp16", "float16", "16-mixed"), "16")
"""Spellings of ``--precision`` and what each means."""

LARGEST = 2**63 - 1
"""The largest seed that torch's generators take."""


def _option(
    default: Any, expected: str, valid: Callable[[Any], bool], about: str, reads: Any = None
) -> Any:
    """Describe an option; ``reads`` is its type on the command line, None: as in a config."""
    metadata = {"expected": expected, "valid": valid, "about": about, "reads": reads}
    return dataclasses.field(default=default, metadata=metadata)


def _integer(default: int | None, least: int, about: str) -> Any:
    def valid(value: Any) -> bool:
        optional = value is None and default is None
        return optional or (type(value) is int and least <= value <= LARGEST)

    expected = f"a whole number of at least {least} and below 2**63"
    expected += ", or None" if default is None else ""
    return _option(default, expected, valid, about, click.INT)


def _number(default: float | None, about: str) -> Any:
    def valid(value: Any) -> bool:
        optional = value is None and default is None
        return optional or (type(value) in (int, float) and math.isfinite(value) and value >= 0)

    return _option(default, "a number of at least 0", valid, about, click.FLOAT)


def _choice(default: str, choices: Sequence[str], about: str) -> Any:
    expected = f"one of {', '.join(choices)}"
    return _option(default, expected, choices.__contains__, about, click.STRING)


def _flag(default: bool, about: str) -> Any:
    return _option(default, "True or False", lambda v: isinstance(v, bool), about, click.BOOL)


def _kind(default: Any, kinds: Any, expected: str, about: str, reads: Any = None) -> Any:
    def valid(value: Any) -> bool:
        optional = value is None and default is None
        return optional or (isinstance(value, kinds) and value != "")

    return _option(default, expected, valid, about, reads)


def _networks(expected: str, about: str, shares: bool = False) -> Any:
    """Describe the option of one or several frozen networks, of which each may have a share."""

    def one(value: Any) -> bool:
        return isinstance(value, str | Path | Callable) and value != ""

    def share(value: Any) -> bool:
        pair = shares and isinstance(value, list | tuple) and len(value) == 2
        return pair and one(value[0]) and type(value[1]) in (int, float) and 0 < value[1] < math.inf

    def valid(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return len(value) > 0 and all(one(v) or share(v) for v in value)
        return value is None or one(value)

    return _option(None, expected, valid, about)


@dataclass(frozen=True)
class Options:
    """Everything that a run depends on. The defaults are the paper's recipe."""

    student: Any = _kind(
        "",
        str | Callable,
        "the name of a student, such as tinyfar-a, or a callable that makes one",
        "tinyfar-a, tinyfar-b, tinyfar-c, any timm model name, or a callable (such as a partial) "
        "that gives a module from faces to embeddings.",
    )
    generator: Any = _networks(
        "the path of a file, a callable that makes a generator, or a list of these or of pairs of "
        "one and a share above 0",
        "A StyleGAN2 or 3 file (NVIDIA's pickle or our safetensors), or a callable that gives a "
        "module like ours. Several share each batch: a.pkl,b.pkl or a.pkl=0.7,b.pkl=0.3, in a "
        "config a list. None takes what "
        "`bob config set bob.paper.ijcb2023_synthdistill.generator PATH` says.",
        shares=True,
    )
    teacher: Any = _networks(
        "the path of a file, a callable that makes a teacher, or a list of these",
        "An ArcFace IResNet or another file (torch, safetensors, ONNX), or a callable. Of several, "
        "a.pth,b.onnx or in a config a list, the student learns the mean of the normalised "
        "embeddings. None takes bob.paper.ijcb2023_synthdistill.teacher.",
    )
    initialisation: str | Path = _kind(
        "imagenet",
        str | Path,
        "'imagenet', 'random' or a file",
        "The student's start: imagenet, random or a file.",
    )
    sampling: Any = _option(
        "dynamic",
        "a strategy",  # create_sampling explains it
        lambda _: True,
        "Re-sampling strategy: dynamic, static, none, z-space, hard, or an object with a method "
        "`resample`.",
    )
    resampling_coefficient: float = _number(
        1.0, "How far well-matched images move in latent space."
    )
    loss: Any = _option(
        "mse",
        "a loss",  # create_loss explains it
        lambda _: True,
        "mse, cosine, weights such as mse=1,cosine=10, or a function of two batches of embeddings.",
    )
    augmentation: Any = _option(
        "none",
        "an augmentation",  # create_augmentation explains it
        lambda _: True,
        "Changes of the generated faces, the same for teacher and student: some of geometry, "
        "colour, sharpness, occlusion joined by +, or a function of faces and random numbers.",
    )
    replay: int = _integer(
        0, 0, "Further updates after each, on faces that were generated before: 0 in the paper."
    )
    replay_images: int = _integer(
        8192, 1, "Faces that are remembered for them, in whole batches, the last ones generated."
    )
    optimizer: Any = _kind(
        None,
        str | Callable,
        "the name of one of torch.optim, or a callable, such as partial(torch.optim.Adam, lr=1e-3)",
        "One of torch.optim by its name, such as adamw, or a callable from parameters to an "
        "optimizer. None is Adam with learning rate 1e-3.",
    )
    learning_rate: float | None = _number(
        None, "The optimizer's learning rate. None: its own, which is 1e-3 for one by name."
    )
    scheduler: Any = _option(
        None,
        "'cosine', or a callable, such as partial(torch.optim.lr_scheduler.StepLR, step_size=10)",
        lambda value: value in (None, "cosine") or callable(value),
        "cosine: warm-up over a tenth of the run, then a cosine to zero at its end, stepped each "
        "iteration. Or a callable from the optimizer to a schedule stepped once an epoch. None is "
        "StepLR: half the learning rate every 10 epochs.",
    )
    method: Any = _option(
        "distillation",
        "'distillation' or a callable",
        lambda value: value == "distillation" or callable(value),
        "distillation (the paper), or a callable that makes another iteration: see "
        "toyfaces.supervised.",
    )
    epochs: int = _integer(21, 0, "Epochs of the whole run. 0 writes the initial student only.")
    images_per_epoch: int = _integer(
        1_000_000,
        1,
        "Fresh images an epoch (rounded down to whole batches); as many are re-sampled.",
    )
    batch_size: int = _integer(128, 1, "Images of one update, over all devices.")
    micro_batch_size: int | None = _integer(
        None,
        1,
        "Images that a device holds at a time; gradients are accumulated over the batch, and batch "
        "statistics are those of the pieces (of all devices), not of the batch. None: all.",
    )
    validation_images: int = _integer(
        78 * 128, 0, "Fresh images for validation each epoch, in whole batches; 0: none."
    )
    truncation_psi: float = _number(1.0, "Truncation of w towards its mean: 1 is none.")
    noise_mode: str = _choice(
        "random", ("random", "const", "none"), "The generator's noise: random, const or none."
    )
    seed: int = _integer(2021, 0, "Seed of everything random.")
    device: str = _choice(
        "auto",
        ("auto", "cpu", "cuda", "mps"),
        "cuda, mps, cpu, or auto: the first of these that is there.",
    )
    devices: int = _integer(1, 1, "Processes on this node, one for each device.")
    num_nodes: int = _integer(1, 1, "Nodes.")
    sync_batchnorm: bool = _flag(
        True,
        "Compute batch statistics over all devices, as one device with the whole batch would, so "
        "that the student does not depend on their number.",
    )
    precision: str = _choice(
        "auto",
        tuple(PRECISIONS),
        "Of generator and teacher, on every device: 32, bf16 or 16; auto runs half precision where "
        "the generator's file says so (the published run), which it does on CUDA only.",
    )
    autocast: bool = _flag(
        False,
        "Compute the student in the --precision bf16 or 16, too (16 on CUDA only): its weights "
        "stay in float32, with a loss scaler for 16.",
    )
    tf32: str = _choice(
        "default",
        ("default", "on", "off"),
        "TensorFloat-32 for what is in float32 on CUDA: on, off, or torch's defaults, as the "
        "published code: on in convolutions, off in matrix products.",
    )
    deterministic: bool = _flag(
        False,
        "Let CUDA take algorithms that give the same bits each time, where there are some: slower, "
        "since it neither tries which are fastest nor adds up in any order. A CPU does anyway.",
    )
    plain: bool = _flag(
        False,
        "Compute as the recipe is written, by the reference implementation, instead of by the "
        "inference forms, which give the same numbers but for rounding.",
    )
    compile: bool = _flag(
        False,
        "Compile student and teacher, and on CUDA the synthesis, with torch.compile in the first "
        "step: takes minutes on a CPU, and a C++ compiler.",
    )
    graph: bool = _flag(
        False,
        "Capture the whole iteration as one CUDA graph and replay it: the same numbers with one "
        "launch instead of thousands. One device, and an optimizer that torch calls capturable, "
        "such as Adam.",
    )
    keep_epochs: bool = _flag(
        False,
        "Keep each epoch's student in a folder of its own below epochs/, to be evaluated like a "
        "run: synthdistill-table makes a row of each.",
    )
    checkpoint_minutes: float = _number(10.0, "Minutes between checkpoints within an epoch.")
    checkpoint_steps: int | None = _integer(
        None,
        1,
        "Iterations between checkpoints within an epoch, besides the minutes. None: by time only.",
    )

    def __post_init__(self) -> None:
        """Check each value, then what must fit together."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.metadata["valid"](value):
                raise _wrong(field.name, field.metadata["expected"], value)
        object.__setattr__(self, "precision", PRECISIONS[self.precision])
        if self.images_per_epoch < self.batch_size:
            least = f"at least one batch ({self.batch_size} images: see batch_size)"
            raise _wrong("images_per_epoch", least, self.images_per_epoch)
        if 0 < self.validation_images < self.batch_size:
            least = f"0 (no validation) or at least one batch ({self.batch_size} images)"
            raise _wrong("validation_images", least, self.validation_images)
        if self.replay and self.replay_images < self.batch_size:
            least = f"at least one batch ({self.batch_size} images)"
            raise _wrong("replay_images", least, self.replay_images)
        world = self.devices * self.num_nodes
        if self.batch_size % world:
            raise _wrong(
                "batch_size", f"a multiple of the {world} devices that share it", self.batch_size
            )
        if self.plain and self.compile:
            raise _wrong("compile", "False, since plain runs everything as it is written", True)
        if self.autocast and self.precision not in ("bf16", "16"):
            raise _wrong("precision", "bf16 or 16, since autocast is asked for", self.precision)
        if self.method != "distillation" and (self.replay or self.augmentation != "none"):
            raise _wrong(
                "method", "distillation, which alone has replay and augmentation", self.method
            )
        scaled = self.autocast and self.precision == "16"
        own = self.method != "distillation"
        if self.graph and (self.plain or own or scaled or world > 1 or self.replay):
            unfit = "False with plain, several devices, replay, autocast in 16 or another method"
            raise _wrong("graph", unfit, True)

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
        """Give every option as plain values that JSON can hold, the same in every process."""
        return {name: _plain(getattr(self, name)) for name in names()}


def _wrong(name: str, expected: str, found: object) -> SynthDistillError:
    return SynthDistillError(f"option {name}: expected {expected}, found {found!r}.")


def _plain(value: Any) -> Any:
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


def load_configs(configs: Sequence[str]) -> dict[str, Any]:
    """Load configs, each seeing the names of those before it; give the options that they set.

    Parameters
    ----------
    configs
        Paths, module names or names of :py:data:`CONFIGS`. A name wins over a file of that name.
    """
    import traceback
    from importlib.metadata import entry_points

    from clapper.config import load, mod_to_context

    named = {entry.name: entry.value for entry in entry_points(group=CONFIGS)}
    for config in configs:
        if config in named or Path(config).is_file():
            continue
        if Path(config).suffix == ".py":
            raise SynthDistillError(f"config {config} does not exist")
        if "." not in config:
            raise SynthDistillError(
                f"unknown config {config!r}: it is no file and no name.{nearest(config, named)} "
                f"Names: {', '.join(sorted(named))}."
            )
    try:
        context = mod_to_context(load([named.get(config, config) for config in configs]))
    except SynthDistillError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        # the last line at a module's top is the config's own
        places = [(f.filename, f.lineno) for f in frames if f.name == "<module>" and f.line]
        if isinstance(error, SyntaxError):
            places = [(error.filename or "", error.lineno)]
        place = "{}, line {}: ".format(*places[-1]) if places else ""
        raise SynthDistillError(
            f"cannot load config {' '.join(configs)}: {place}{type(error).__name__}: {error}"
        ) from error
    _check_names(context)
    return {name: context[name] for name in names() if name in context}


def _check_names(context: Mapping[str, Any]) -> None:
    """Refuse names that no option has: a mistyped one would be silently ignored.

    Modules, classes and functions under their own names (imports and definitions), names in upper
    case and names that begin with an underscore are the config's own business.
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


def find_file(name: str, given: Any) -> Any:
    """Find the generator's or the teacher's file: as given, else as configured.

    A network of the user's own is given back as it is: a callable, or a teacher's
    ``package.module:name``. Several are a list: ``a,b`` or, with shares, ``a=0.7,b=0.3``.
    """
    from ..recognition.own import is_network_name

    if isinstance(given, str) and "," in given and not Path(given).exists():
        given = [_split_share(one) if name == "generator" else one for one in given.split(",")]
    if isinstance(given, list | tuple):
        return [
            [find_file(name, one[0]), *one[1:]]
            if isinstance(one, list | tuple)
            else find_file(name, one)
            for one in given
        ]
    if callable(given) or (name == "teacher" and is_network_name(given)):
        return given
    key = {"generator": GENERATOR, "teacher": TEACHER}[name]
    found = require_path(key, f"the {name}") if given is None else Path(given).expanduser()
    if not found.is_file():
        what = "is a folder" if found.is_dir() else "does not exist"
        raise SynthDistillError(
            f"the {name} file {found} {what}. Give another by --{name}, or by "
            f"`bob config set {key} PATH`; `synthdistill-fetch {name}` says where it is from."
        )
    return found.resolve()


def _split_share(text: str) -> Any:
    path, _, share = text.rpartition("=")
    try:
        return (path, float(share)) if path else text
    except ValueError:
        return text


def find_files(options: Options) -> Options:
    """Fill in the paths of generator and teacher, which a method of one's own does not need."""
    if options.method != "distillation":
        return options
    found = {name: find_file(name, getattr(options, name)) for name in ("generator", "teacher")}
    return dataclasses.replace(options, **found)
