"""From options to things: the one place where a run's networks are built and loaded."""

import logging
import platform
import subprocess
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import nn

from ..files import GENERATOR, TEACHER, SynthDistillError, require_path, sha256
from .fast import FrozenNetworks, prepare_student
from .losses import create_loss
from .options import Options
from .sampling import create_sampling
from .step import Clock, Distillation, no_clock

if TYPE_CHECKING:
    from ..generators.stylegan2 import Generator
    from ..recognition.teacher import Teacher

logger = logging.getLogger(__name__)


def find_files(options: Options) -> Options:
    """Fill in the generator's and the teacher's path from the user's defaults, and check them.

    Raises
    ------
    SynthDistillError
        A file is not configured or does not exist.
    """
    found: dict[str, Any] = {}
    for name, key in (("generator", GENERATOR), ("teacher", TEACHER)):
        path = getattr(options, name)
        path = require_path(key, name) if path is None else Path(path).expanduser()
        if not path.is_file():
            raise SynthDistillError(
                f"the {name} file {path} does not exist. Give another by --{name}, or by "
                f"`bob config set {key} PATH`; `synthdistill-fetch {name}` says where it is from."
            )
        found[name] = path.resolve()
    return replace(options, **found)


def create_fabric(options: Options) -> Fabric:
    """Set up device, processes and precision.

    Raises
    ------
    SynthDistillError
        The device that was asked for is not there.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    device = options.device
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[device]:
        raise SynthDistillError(
            f"device {device} is not available on this machine: "
            f"try --device {next(name for name in ('cuda', 'mps', 'cpu') if available[name])}"
        )
    if device == "cuda" and options.devices > torch.cuda.device_count():
        raise SynthDistillError(
            f"{options.devices} CUDA devices asked for, {torch.cuda.device_count()} found"
        )
    if device == "cpu":
        _warn_of_slow_precision(options.precision)
    mixed = {"bf16": "bf16-mixed", "16": "16-mixed"}
    several = options.devices * options.num_nodes > 1
    return Fabric(
        accelerator=device,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy="ddp" if several else "auto",
        # autocast of the student does not pay on a CPU: measured, see PERFORMANCE.md
        precision=mixed.get(options.precision, "32-true") if device == "cuda" else "32-true",  # type: ignore[arg-type]
    )


def _warn_of_slow_precision(precision: str) -> None:
    """Say so where half precision is much slower than float32: see PERFORMANCE.md."""
    # other processors, ARM's for instance, were not measured
    no_avx512 = platform.machine() in ("x86_64", "AMD64") and (
        torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2")
    )
    if precision == "bf16" and no_avx512:
        logger.warning(
            "this processor has no AVX-512, without which bfloat16 is many times slower than "
            "float32: --precision 32 is the fast one here"
        )
    elif precision == "16":
        logger.warning(
            "float16 is many times slower than float32 on a CPU: take --precision 32 or bf16 here"
        )


def create_optimizer(
    options: Options, parameters: Any
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Make the optimizer and its schedule, by default the paper's."""
    from functools import partial

    parameters = list(parameters)
    fused = not options.plain and all(p.device.type in ("cpu", "cuda") for p in parameters)
    make_optimizer = options.optimizer or partial(torch.optim.Adam, lr=1e-3, fused=fused)
    make_scheduler = options.scheduler or partial(
        torch.optim.lr_scheduler.StepLR, step_size=10, gamma=0.5
    )
    try:
        optimizer = make_optimizer(parameters)
        return optimizer, make_scheduler(optimizer)
    except (TypeError, ValueError) as error:
        raise SynthDistillError(f"cannot make the optimizer or its schedule: {error}") from error


def create_student(options: Options, embedding_size: int = 512) -> nn.Module:
    """Make the student, its random parts a function of the seed alone."""
    from ..recognition.student import create_student as create

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return create(
            options.student,
            initialisation=options.initialisation,
            embedding_size=embedding_size,
        )


def load_networks(options: Options) -> tuple["Generator", "Teacher"]:
    """Load generator and teacher, frozen, on the CPU.

    Raises
    ------
    SynthDistillError
        A file is missing, damaged or of another network.
    """
    from ..generators import load_generator
    from ..recognition.teacher import load_teacher

    options = find_files(options)
    return load_generator(str(options.generator)), load_teacher(str(options.teacher))


def create_method(options: Options, fabric: Fabric, clock: Clock = no_clock) -> Distillation:
    """Build the student, load generator and teacher, and put them on the device.

    Parameters
    ----------
    options
        With the paths of generator and teacher: see :py:func:`find_files`.
    fabric
        Launched.
    clock
        Marks the phases of an iteration.

    Returns
    -------
        The method, ready for its first iteration.
    """
    if options.method != "distillation":
        return options.method(options, fabric)
    generator, teacher = load_networks(options)
    student = create_student(options, teacher.embedding_size)
    return assemble(options, fabric, generator, teacher, student, clock)


def assemble(
    options: Options,
    fabric: Fabric,
    generator: nn.Module,
    teacher: nn.Module,
    student: nn.Module,
    clock: Clock = no_clock,
) -> Distillation:
    """Put networks that are there together to the method, on fabric's device."""
    _check_embedding(student, teacher)
    several = fabric.world_size > 1
    # on one device only if asked for, to learn what several do; other devices have no float64
    alone = options.sync_batchnorm is True and fabric.device.type == "cpu"
    arithmetic = None
    if (several and options.sync_batchnorm is not False) or alone:
        from .batchnorm import synchronise
        from .divisible import DivisibleArithmetic

        student = synchronise(student, fabric.device)
        if fabric.device.type == "cpu" and not options.compile:
            arithmetic = DivisibleArithmetic()
    networks = FrozenNetworks.prepare(
        generator.to(fabric.device).eval(), teacher.to(fabric.device).eval(), options
    )
    student = prepare_student(student, options)
    optimizer, scheduler = create_optimizer(options, student.parameters())
    wrapped, wrapped_optimizer = fabric.setup(student, optimizer)
    method = Distillation(
        fabric,
        networks.generator,
        networks.teacher,
        wrapped,
        wrapped_optimizer,
        create_sampling(options.sampling, options.resampling_coefficient),
        create_loss(options.loss),
        truncation_psi=options.truncation_psi,
        noise_mode=options.noise_mode,
        micro_batch_size=options.micro_batch_size,
        crop=networks.crop,
        clock=clock,
        arithmetic=arithmetic,
    )
    method.scheduler = scheduler
    return method


def _check_embedding(student: nn.Module, teacher: nn.Module) -> None:
    """Refuse a student and a teacher whose embeddings have different sizes."""
    sizes = [getattr(network, "embedding_size", None) for network in (student, teacher)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise SynthDistillError(
            f"the student gives embeddings of {sizes[0]} elements, the teacher of {sizes[1]}: "
            "they must be the same"
        )


def describe_run(options: Options) -> dict[str, Any]:
    """Give the content of ``options.json``: what the run is, and what it runs on."""
    packages = ("bob.paper.ijcb2023_synthdistill", "torch", "timm", "numpy", "lightning-fabric")
    files = {
        name: {"path": str(path), "sha256": sha256(path)}
        for name in ("generator", "teacher")
        if (path := getattr(options, name)) is not None and Path(path).is_file()
    }
    plain = options.describe()
    # the files are known by their content: they may move
    for name, file in files.items():
        plain[name] = file["sha256"]
    return {
        "format": 1,
        "options": plain,
        "files": files,
        "student": plain["student"],
        "seed": options.seed,
        "epochs": options.epochs,
        "images": options.images,
        "versions": {name: version(name) for name in packages}
        | {"python": platform.python_version()},
        "revision": _revision(),
        "machine": platform.platform(),
    }


def _revision() -> str | None:
    """Give the git revision of the package's source tree, where it has one."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
