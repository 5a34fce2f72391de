"""The time that an iteration takes at least, at the rates that the device is measured to reach."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

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
        ``ceilings``: FLOP/s in each precision, and ``bytes`` a second; ``floor_phases_ms``: of
        computing or moving, what takes longer.
    """
    ceilings = measure_ceilings(device, {"float32", "bfloat16"}.union(*flops.values()))
    work, floor = {}, {}
    for phase, amount in moved.items():
        precisions = dict(flops.get(phase, {}))
        total = float(sum(precisions.values()))
        work[phase] = {"flops": total, "precisions": precisions, "bytes": amount}
        computing = sum(count / ceilings[name] for name, count in precisions.items())
        floor[phase] = 1e3 * max(computing, amount / ceilings["bytes"])
    return {"work": work, "ceilings": ceilings, "floor_phases_ms": floor}


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


class FlopCounter(TorchDispatchMode):
    """Counts FLOPs (two for a multiply-add) by phase, and by the precision they are done in.

    ``phase`` tells the phase of the moment. The backward pass is taken for twice the forward one:
    torch's count of it is wrong for grouped convolutions.
    """

    def __init__(self, phase: Callable[[], str]) -> None:
        super().__init__()
        self.phase = phase
        self.flops: dict[str, Counter[str]] = defaultdict(Counter)

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        """Do an operation and count it."""
        result = operation(*arguments, **(keywords or {}))
        count = flop_registry.get(operation.overloadpacket)
        if count is not None and isinstance(result, torch.Tensor):
            flops = count(*arguments, **(keywords or {}), out_val=result)
            self.flops[self.phase()][precision_of(operation, result)] += flops
        return result

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        forward = self.flops["student forward"]
        self.flops["backward"] = Counter({name: 2 * flops for name, flops in forward.items()})


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
            times.append(seconds(device, action))
        best = max(best, amount / min(times))
    return best


def seconds(device: torch.device, action: Callable[[], Any], times: int = 1) -> float:
    """Measure the seconds of an action; of many, without waiting in between, the mean."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(times):
        action()
    synchronise(device)
    return (time.perf_counter() - started) / times


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
