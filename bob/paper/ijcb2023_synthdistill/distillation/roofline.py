"""The time that an iteration takes at least, at the rates that the device is measured to reach."""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from .. import faces
from .options import Options

PATIENCE = 2.0
"""Seconds: an operation that would take longer is not measured."""


def roofline(
    device: torch.device, flops: Mapping[str, Mapping[str, int]], moved: Mapping[str, float]
) -> dict[str, Any]:
    """Compare the work of each phase with what the device is measured to do at most.

    Returns
    -------
        ``work``: for each phase its ``flops``, in all and by precision, and its ``bytes``;
        ``ceilings``: FLOP/s in each precision, and ``bytes`` a second; ``floor_phases_ms``.
    """
    work = {}
    for phase, amount in moved.items():
        precisions = dict(flops.get(phase, {}))
        total = float(sum(precisions.values()))
        work[phase] = {"flops": total, "precisions": precisions, "bytes": amount}
    used = {name for amounts in flops.values() for name in amounts}
    ceilings = measure_ceilings(device, used | {"float32", "bfloat16"})
    return {"work": work, "ceilings": ceilings, "floor_phases_ms": roofline_ms(work, ceilings)}


def roofline_ms(work: Mapping[str, Any], ceilings: Mapping[str, float]) -> dict[str, float]:
    """Give the milliseconds of each phase at these rates: of computing or moving, the longer."""
    return {
        phase: 1e3
        * max(
            sum(flops / ceilings[name] for name, flops in amount["precisions"].items()),
            amount["bytes"] / ceilings["bytes"],
        )
        for phase, amount in work.items()
    }


def least_bytes(
    options: Options, resolution: int, mapping: int, synthesis: int, teacher: int, student: int
) -> dict[str, float]:
    """Give the bytes that no iteration spares: weights, read once a step, and images.

    ``mapping`` ... ``student`` are the networks' numbers of weights.
    """
    whole, frozen = 4.0, 2.0 if options.precision in ("bf16", "16") else 4.0
    pixel = 12.0 * options.batch_size
    rows, columns = (span.stop - span.start for span in faces.crop_box(resolution))
    image, face = pixel * rows * columns, pixel * faces.FACE_SIZE**2
    return {
        "mapping": whole * mapping,
        "synthesis": 2 * (frozen * synthesis + image),
        "crop": 2 * (image + face),
        "teacher": 2 * (frozen * teacher + face),
        "student forward": 2 * (whole * student + face),
        # reads the weights, writes their gradients
        "backward": 2 * 2 * whole * student,
        # Adam reads weight, gradient and two moments, and writes three of them
        "optimizer": 2 * 7 * whole * student,
    }


@contextlib.contextmanager
def count_flops(phase: Callable[[], str]) -> Iterator[dict[str, Counter[str]]]:
    """Count FLOPs (two for a multiply-add) by phase, and by the precision they are done in.

    ``phase`` tells the phase of the moment.
    """
    counted: dict[str, Counter[str]] = defaultdict(Counter)

    def by_precision(operation: Any, count: Callable[..., int]) -> Callable[..., int]:
        def counting(*arguments: Any, out_val: Any, **keywords: Any) -> int:
            flops = count(*arguments, out_val=out_val, **keywords)
            if isinstance(out_val, torch.Tensor):
                counted[phase()][precision_of(operation, out_val)] += flops
            return flops

        counting._get_raw = True  # type: ignore[attr-defined]  # tensors, not their shapes
        return counting

    counts = {operation: by_precision(operation, c) for operation, c in flop_registry.items()}
    eager = torch.compiler.set_stance("force_eager")
    with eager, FlopCounterMode(display=False, custom_mapping=counts):
        yield counted
    # torch's count is wrong for the backward pass of grouped convolutions: it is twice forward
    forward = counted["student forward"]
    counted["backward"] = Counter({name: 2 * flops for name, flops in forward.items()})


def precision_of(operation: Any, result: torch.Tensor) -> str:
    """Name the precision in which an operation multiplies."""
    if result.dtype == torch.float32 and result.device.type == "cuda":
        convolution = "conv" in str(operation)
        kind = torch.backends.cudnn.conv if convolution else torch.backends.cuda.matmul  # type: ignore[attr-defined]
        return "tensorfloat32" if kind.fp32_precision == "tf32" else "float32"
    return str(result.dtype).removeprefix("torch.")


def measure_ceilings(device: torch.device, precisions: Iterable[str]) -> dict[str, float]:
    """Measure FLOP/s in each precision, and bytes/s of a copy (read and written both count)."""
    found = {name: _best_rate(_operations(device, name), device) for name in sorted(precisions)}
    source = torch.ones(2**30 if device.type == "cuda" else 2**26, device=device)
    copy = partial(torch.empty_like(source).copy_, source)
    return found | {"bytes": _best_rate([(copy, 2 * source.nbytes)], device)}


def _operations(device: torch.device, precision: str) -> Iterator[tuple[Callable[[], Any], int]]:
    """Give products, and a convolution of 3x3 over 512 channels, each with its FLOPs.

    Libraries differ: on some processors MKL's product is slow and oneDNN's convolution is fast.
    """
    tf32, large = precision == "tensorfloat32", device.type == "cuda"
    kind = torch.float32 if tf32 else getattr(torch, precision)
    for settings in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):  # type: ignore[attr-defined]
        settings.fp32_precision = "tf32" if tf32 else "ieee"
    for size in (8192,) if large else (1024, 2048):
        left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        yield partial(torch.mm, left, right), 2 * size**3
    batch, side = (32, 64) if large else (4, 32)
    image = torch.randn(batch, 512, side, side, device=device).to(kind)
    image = image.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 3, 3, device=device).to(kind)
    convolve = partial(nn.functional.conv2d, image, weight, padding=1)
    yield convolve, 2 * 9 * 512**2 * batch * side**2


@torch.no_grad()
def _best_rate(operations: Iterable[tuple[Callable[[], Any], int]], device: torch.device) -> float:
    """Give the largest amount a second.

    A processor without instructions for bfloat16 multiplies its matrices hundreds of times slower:
    what would take it long is left out.
    """
    best = 0.0
    for action, amount in operations:
        if best and amount / best > PATIENCE:
            continue
        times: list[float] = []
        while len(times) < 6 and sum(times) < PATIENCE:
            synchronise(device)
            started = time.perf_counter()
            action()
            synchronise(device)
            times.append(time.perf_counter() - started)
        best = max(best, amount / min(times))
    return best


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
