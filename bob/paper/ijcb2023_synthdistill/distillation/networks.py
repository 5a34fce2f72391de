"""From options to things: the one place where a run's networks are loaded and put together."""

import logging
import os
import platform
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from ..files import GENERATOR, TEACHER, SynthDistillError, require_path
from ..recognition.own import is_network_name, lay_out
from .losses import create_loss
from .memory import check_memory
from .options import Options
from .sampling import create_sampling
from .step import Clock, Distillation, no_clock

logger = logging.getLogger(__name__)

FROZEN_TYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""What ``--precision`` means for generator and teacher; ``auto`` leaves it to their files."""


def find_file(name: str, path: Any) -> Any:
    """Find the generator's or the teacher's file: as given, else as configured.

    A teacher that is a network of the user's own is given back as it is.
    """
    if name == "teacher" and (callable(path) or is_network_name(path)):
        return path
    key = {"generator": GENERATOR, "teacher": TEACHER}[name]
    found = require_path(key, f"the {name}") if path is None else Path(path).expanduser()
    if not found.is_file():
        what = "is a folder" if found.is_dir() else "does not exist"
        raise SynthDistillError(
            f"the {name} file {found} {what}. Give another by --{name}, or by "
            f"`bob config set {key} PATH`; `synthdistill-fetch {name}` says where it is from."
        )
    return found.resolve()


def find_files(options: Options) -> Options:
    """Fill in the paths of generator and teacher."""
    return replace(
        options,
        generator=find_file("generator", options.generator),
        teacher=find_file("teacher", options.teacher),
    )


def choose_device(device: str) -> str:
    """Resolve ``auto``, and refuse a kind of device that is not there."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    best = next(name for name, there in available.items() if there)
    if device == "auto":
        return best
    if not available[device]:
        raise SynthDistillError(
            f"device {device} is not available on this machine: try --device {best}"
        )
    return device


def create_fabric(options: Options) -> Fabric:
    """Set up device, processes and precision."""
    device = choose_device(options.device)
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
        # statistics are the same in all processes, or everybody's own: nothing to broadcast
        strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",
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
    make_optimizer = options.optimizer or partial(
        torch.optim.Adam, lr=1e-3, fused=not options.plain
    )
    make_scheduler = options.scheduler or partial(
        torch.optim.lr_scheduler.StepLR, step_size=10, gamma=0.5
    )
    try:
        optimizer = make_optimizer(list(parameters))
        return optimizer, make_scheduler(optimizer)
    except (TypeError, ValueError) as error:
        raise SynthDistillError(f"cannot make the optimizer or its schedule: {error}") from error


def create_student(options: Options, embedding_size: int = 512) -> nn.Module:
    """Make the student, its random parts a function of the seed alone."""
    from ..recognition.student import create_student as create

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return create(options.student, options.initialisation, embedding_size)


def load_networks(options: Options) -> tuple[nn.Module, nn.Module]:
    """Load generator and teacher, frozen, on the CPU."""
    from ..generators import load_generator
    from ..recognition.teacher import create_teacher

    options = find_files(options)
    return load_generator(str(options.generator)), create_teacher(options.teacher)


def create_method(options: Options, fabric: Fabric, clock: Clock = no_clock) -> Distillation:
    """Build the student, load generator and teacher, and put them on fabric's device.

    ``clock`` marks the phases of an iteration.
    """
    if options.method != "distillation":
        return options.method(options, fabric)
    generator, teacher = load_networks(options)
    student = create_student(options, teacher.embedding_size)  # type: ignore[arg-type]
    check_memory(options, fabric.device, student)
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
    sizes = [getattr(network, "embedding_size", None) for network in (student, teacher)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise SynthDistillError(
            f"the student gives embeddings of {sizes[0]} elements, the teacher of {sizes[1]}: "
            "they must be the same"
        )
    if options.compile:
        _check_compiler()
    if fabric.world_size > 1 and options.sync_batchnorm:
        from .batch_norm import synchronise

        student = synchronise(student, fabric.device)
    generator, teacher = freeze(
        generator.to(fabric.device).eval(), teacher.to(fabric.device).eval(), options
    )
    if not options.plain:
        student = lay_out(student)
    if options.compile:
        # in place, so that the names of the parameters stay
        student.compile()
        teacher.compile()
    optimizer, scheduler = create_optimizer(options, student.parameters())
    wrapped, wrapped_optimizer = fabric.setup(student, optimizer)
    method = Distillation(
        fabric,
        generator,
        teacher,
        wrapped,
        wrapped_optimizer,
        create_sampling(options.sampling, options.resampling_coefficient),
        create_loss(options.loss),
        truncation_psi=options.truncation_psi,
        noise_mode=options.noise_mode,
        micro_batch_size=options.micro_batch_size,
        clock=clock,
    )
    method.scheduler = scheduler
    return method


def freeze(
    generator: nn.Module, teacher: nn.Module, options: Options
) -> tuple[nn.Module, nn.Module]:
    """Give generator and teacher the form and the precision that the options ask for.

    Networks of other kinds are used as they are; they may offer ``set_precision(dtype)``.
    """
    from ..generators import inference as generators
    from ..recognition import inference as recognisers

    dtype = FROZEN_TYPES.get(options.precision)
    if options.plain:
        return _in_type(generator, dtype), _in_type(teacher, dtype)
    fast_generator = generators.for_inference(generator, dtype)
    fast_teacher = recognisers.for_inference(teacher, dtype)
    return (
        fast_generator if fast_generator is not generator else _in_type(generator, dtype),
        fast_teacher if fast_teacher is not teacher else _in_type(teacher, dtype),
    )


def _in_type(network: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """Let a network without an inference form compute in a type."""
    if dtype is None:
        return network
    if callable(set_precision := getattr(network, "set_precision", None)):
        set_precision(dtype)
    elif dtype != torch.float32:
        raise SynthDistillError(
            f"{type(network).__name__} has no reduced precision here: use --precision 32"
        )
    return network


def _check_compiler() -> None:
    """Refuse to begin without the C++ compiler that torch.compile calls in the first step."""
    # the names that torch's inductor looks for
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise SynthDistillError(
            f"--compile needs a C++ compiler, but {name} was not found: install one, name another "
            "by the environment variable CXX, or use --no-compile."
        )
