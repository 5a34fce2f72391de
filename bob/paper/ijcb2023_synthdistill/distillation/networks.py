"""From options to things: the one place where a run's networks are loaded and put together."""

import contextlib
import copy
import inspect
import logging
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from ..faces import FACE_SIZE
from ..files import SynthDistillError, nearest
from ..generators.mixture import Mixture
from ..recognition.ensemble import Ensemble
from ..recognition.own import lay_out
from ..recognition.student import count_parameters
from .augmentation import create_augmentation
from .graph import GraphedIteration
from .losses import create_loss
from .memory import Memory
from .options import Options
from .sampling import create_sampling
from .step import Clock, Distillation

logger = logging.getLogger(__name__)

FROZEN_TYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
"""What ``--precision`` means for generator and teacher; ``auto`` leaves it to their files."""


def choose_device(device: str) -> str:
    """Resolve ``auto``, and refuse a kind of device that is not there."""
    mps = torch.backends.mps.is_available()
    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * mps + ["cpu"]
    if device != "auto" and device not in there:
        raise SynthDistillError(
            f"device {device} is not available on this machine: try --device {there[0]}"
        )
    return there[0] if device == "auto" else device


def create_fabric(options: Options) -> Fabric:
    """Set up device, processes and precision; on CUDA also torch's own settings."""
    device = choose_device(options.device)
    if device == "cuda" and options.devices > torch.cuda.device_count():
        raise SynthDistillError(
            f"{options.devices} CUDA devices asked for, {torch.cuda.device_count()} found"
        )
    if device == "cpu":
        _warn_if_slow(options.precision)
    if device == "cuda":
        configure_cuda(options)
    elif options.graph or (options.autocast and options.precision == "16"):
        raise SynthDistillError("--graph, and --autocast with --precision 16, need --device cuda")
    several = options.devices * options.num_nodes > 1
    # what Lightning tells of its processes, and torch tells developers
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*(broadcast_buffers|all_reduce).* is deprecated")
    return Fabric(
        accelerator=device,
        devices=options.devices,
        num_nodes=options.num_nodes,
        # statistics are the same in all processes, or everybody's own: nothing to broadcast
        strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",
        # of the student alone: generator and teacher are outside of autocast
        precision=f"{options.precision}-mixed" if options.autocast else "32-true",  # type: ignore[arg-type]
    )


def configure_cuda(options: Options) -> None:
    """Choose algorithms and the meaning of float32 on CUDA, for the whole process."""
    # shapes are fixed, and odd ones (213, 215, 110): trying pays
    torch.backends.cudnn.benchmark = not options.deterministic
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    if options.tf32 != "default":
        kind = "tf32" if options.tf32 == "on" else "ieee"
        for settings in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):  # type: ignore[attr-defined]
            settings.fp32_precision = kind


def _warn_if_slow(precision: str) -> None:
    """Say so where half precision is many times slower than float32: see PERFORMANCE.md."""
    # other processors, ARM's for instance, were not measured
    intel = platform.machine() in ("x86_64", "AMD64")
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    if precision == "16" or (precision == "bf16" and intel and not wide):
        logger.warning(
            "--precision %s is many times slower than float32 on this processor (bf16 needs "
            "AVX-512): --precision 32 is the fast one here",
            precision,
        )


def rows_of(options: Options, fabric: Fabric) -> range:
    """Give the rows of each batch that this process takes."""
    share = options.batch_size // fabric.world_size
    return range(fabric.global_rank * share, (fabric.global_rank + 1) * share)


def create_optimizer(
    options: Options, parameters: Any
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Make the optimizer and its schedule, by default the paper's."""
    make_optimizer = options.optimizer or partial(
        torch.optim.Adam, lr=1e-3, fused=not options.plain
    )
    if isinstance(make_optimizer, str):
        make_optimizer = partial(_find_optimizer(make_optimizer), lr=1e-3)
    if options.learning_rate is not None:
        make_optimizer = partial(make_optimizer, lr=options.learning_rate)
    make_scheduler = options.scheduler or partial(
        torch.optim.lr_scheduler.StepLR, step_size=10, gamma=0.5
    )
    try:
        optimizer = make_optimizer(list(parameters))
        if options.scheduler == "cosine":
            make_scheduler = partial(
                torch.optim.lr_scheduler.OneCycleLR,
                max_lr=[group["lr"] for group in optimizer.param_groups],
                total_steps=max(options.iterations, 1) + 1,
                pct_start=0.1,
                cycle_momentum=False,
            )
        return optimizer, make_scheduler(optimizer)
    except (TypeError, ValueError) as error:
        raise SynthDistillError(f"cannot make the optimizer or its schedule: {error}") from error


def _find_optimizer(name: str) -> Any:
    known: dict[str, Any] = {
        kind.__name__.lower(): kind
        for kind in vars(torch.optim).values()
        if inspect.isclass(kind) and torch.optim.Optimizer in kind.__mro__[1:]
    }
    if name.lower() not in known:
        raise SynthDistillError(
            f"there is no optimizer {name!a} in torch.optim.{nearest(name.lower(), known)} Choose "
            f"one of {', '.join(known)}, or set a callable in a config."
        )
    return known[name.lower()]


def create_student(options: Options, embedding_size: int = 512) -> nn.Module:
    """Make the student, its random parts a function of the seed alone."""
    from ..recognition.student import create_student as create

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return create(options.student, options.initialisation, embedding_size)


def load_networks(options: Options) -> tuple[nn.Module, nn.Module]:
    """Load generator and teacher, frozen, on the CPU."""
    from ..generators import create_generator
    from ..recognition.teacher import create_teacher

    return create_generator(options.generator), create_teacher(options.teacher)


def create_method(options: Options, fabric: Fabric) -> Distillation:
    """Build the student, load generator and teacher, and put them on fabric's device."""
    if options.method != "distillation":
        return options.method(options, fabric)
    generator, teacher = load_networks(options)
    student = create_student(options, teacher.embedding_size)  # type: ignore[arg-type]
    check_memory(options, fabric.device, student)
    return assemble(options, fabric, generator, teacher, student)


def check_memory(options: Options, device: torch.device, student: nn.Module) -> None:
    """Refuse a batch that cannot fit, before the system is brought to its knees."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[1]
    needed = student_bytes(options, student)
    if needed > available:
        raise SynthDistillError(
            f"this batch needs about {needed / 2**30:,.0f} GiB for the student alone, there are "
            f"{available / 2**30:,.0f}: lower --micro-batch-size or --batch-size."
        )


def student_bytes(options: Options, student: nn.Module) -> int:
    """Estimate, without computing, the memory of student, gradients, Adam and what autograd saves.

    Nothing is known of the activations of networks that cannot be sketched.
    """
    share = options.batch_size // (options.devices * options.num_nodes)
    batch = min(options.micro_batch_size or share, share)
    sketch = copy.deepcopy(student).to("meta").train()
    weights = {id(p) for p in sketch.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in weights:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with contextlib.suppress(Exception), torch.autograd.graph.saved_tensors_hooks(keep, keep):
        sketch(torch.empty(batch, 3, FACE_SIZE, FACE_SIZE, device="meta"))
    return 16 * count_parameters(student) + sum(tensor.nbytes for tensor in kept.values())


def assemble(
    options: Options,
    fabric: Fabric,
    generator: nn.Module,
    teacher: nn.Module,
    student: nn.Module,
    clock: Clock = contextlib.nullcontext,
) -> Distillation:
    """Put networks that are there together to the method, on fabric's device."""
    if isinstance(generator, Mixture):
        generator.check(options.batch_size)
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
        for one in generator.members if isinstance(generator, Mixture) else [generator]:
            if fabric.device.type == "cuda" and isinstance(one.synthesis, nn.Module):
                one.synthesis.compile()
    optimizer, scheduler = create_optimizer(options, student.parameters())
    wrapped, wrapped_optimizer = fabric.setup(student, optimizer)
    memory = None
    if options.replay:
        batches = options.replay_images // options.batch_size
        memory = Memory(batches, rows_of(options, fabric), fabric.device)
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
        augmentation=create_augmentation(options.augmentation),
        memory=memory,
        replay=options.replay,
        # a graph has no phases
        clock=contextlib.nullcontext if options.graph else clock,
    )
    method.scheduler = scheduler
    if options.graph:
        method.iteration = GraphedIteration(method)  # type: ignore[method-assign]
    return method


def freeze(
    generator: nn.Module, teacher: nn.Module, options: Options
) -> tuple[nn.Module, nn.Module]:
    """Give generator and teacher the form and the precision that the options ask for.

    Of several each gets its own. Networks of other kinds are used as they are; they may offer
    ``set_precision(dtype)``.
    """
    from ..generators import inference as generators
    from ..recognition import inference as recognisers

    dtype = FROZEN_TYPES.get(options.precision)

    def form(network: nn.Module, for_inference: Callable[..., nn.Module]) -> nn.Module:
        if isinstance(network, Ensemble | Mixture):
            network.members = nn.ModuleList(form(one, for_inference) for one in network.members)
            return network
        fast = network if options.plain else for_inference(network, dtype)
        if fast is not network or dtype is None:
            return fast
        if callable(set_precision := getattr(network, "set_precision", None)):
            set_precision(dtype)
        elif dtype != torch.float32:
            raise SynthDistillError(
                f"{type(network).__name__} has no reduced precision here: use --precision 32"
            )
        return network

    return form(generator, generators.for_inference), form(teacher, recognisers.for_inference)


def _check_compiler() -> None:
    """Refuse to begin without the C++ compiler that torch.compile calls in the first step."""
    # the names that torch's inductor looks for
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise SynthDistillError(
            f"--compile needs a C++ compiler, but {name} was not found: install one, name another "
            "by the environment variable CXX, or use --no-compile."
        )
