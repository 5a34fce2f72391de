"""The time that no version can beat: the work of each phase over what the machine can do."""

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..faces import FACE_SIZE
from ..generators.fast import crop_window, needed_windows
from ..generators.layers import Linear

FLOPS_PER_MULTIPLY_ADD = 2

PATIENCE = 2.0
"""Seconds after which a measurement of the machine is not repeated, nor made larger."""

Work = dict[str, dict[str, float]]
"""Phase to ``flops`` and ``bytes`` of an iteration."""


def count_work(
    generator: Any, teacher: nn.Module, student: nn.Module, batch: int, half: bool = False
) -> Work:
    """Count floating-point operations and bytes of each phase of an iteration (two steps).

    Operations are those of the convolutions and matrix products, written directly; in synthesis
    only what reaches the crop. Bytes: weights are read once a step, the output of each convolution
    and product is written once and read once, in the precision in which the phase computes;
    backward counts twice the forward pass; Adam reads weight, gradient and two moments and writes
    three of them.

    Parameters
    ----------
    generator, teacher, student
        The networks, on any device.
    batch
        Images in a step.
    half
        The frozen networks compute in two bytes a number.

    Returns
    -------
        For each phase its ``flops`` and ``bytes``.
    """
    width = 2 if half else 4
    mapping = _count(
        generator.mapping, torch.empty(1, generator.z_dim, device="meta"), of_weights=4
    )
    synthesis = {"flops": 0.0, "bytes": 0.0, "weights": 0.0}
    for layer in count_synthesis(generator):
        synthesis["flops"] += layer["flops"]
        synthesis["bytes"] += 2 * width * layer["outputs"]
        synthesis["weights"] += width * layer["weights"]
    face = torch.empty(1, 3, FACE_SIZE, FACE_SIZE, device="meta")
    embedding = _count(teacher, face, of_weights=width)
    recognition = _count(student, face, of_weights=4)
    parameters = sum(p.numel() for p in student.parameters())
    window = crop_window(generator.resolution)
    images = 3 * (window.height * window.width + FACE_SIZE**2) * 4
    # fresh batch only: re-sampling is in w
    return {
        "mapping": _scale(mapping, batch, 1),
        "synthesis": _scale(synthesis, batch, 2),
        "crop": {"flops": 0.0, "bytes": 2.0 * batch * images},
        "teacher": _scale(embedding, batch, 2),
        "student forward": _scale(recognition, batch, 2),
        "backward": {k: 2 * v for k, v in _scale(recognition, batch, 2).items()},
        "optimizer": {"flops": 0.0, "bytes": 2.0 * 7 * 4 * parameters},
    }


def count_synthesis(generator: Any) -> list[dict[str, Any]]:
    """Count the work of each layer of a StyleGAN2 for the part of one image that becomes a face.

    Returns
    -------
        For each convolution and colour layer: ``name``, ``flops``, ``outputs`` and ``weights``
        (numbers of elements).
    """
    windows = needed_windows(crop_window(generator.resolution))
    layers = []
    for name, weight in generator.synthesis.named_parameters():
        if not name.endswith((".conv0.weight", ".conv1.weight", ".torgb.weight")):
            continue
        outputs, inputs, size, _ = weight.shape
        resolution = int(name.split(".")[0].removeprefix("b"))
        window = windows[resolution]
        if ".conv0." in name:
            # the up-sampling layer convolves the small image: its zeros cost nothing
            source = windows[resolution // 2]
            window = window.grow(1)
            positions = source.height * source.width
        else:
            positions = window.height * window.width
        operations = FLOPS_PER_MULTIPLY_ADD * inputs * outputs * size**2 * positions
        made = outputs * window.height * window.width
        if ".conv0." in name:
            # the low-pass filter as two one-dimensional ones of four taps
            operations += FLOPS_PER_MULTIPLY_ADD * 2 * 4 * made
        layers.append(
            {
                "name": name.removesuffix(".weight"),
                "flops": float(operations),
                "outputs": made,
                "weights": weight.numel(),
            }
        )
    return layers


def floor_ms(work: Work, ceilings: dict[str, float], half: bool = False) -> dict[str, float]:
    """Give the milliseconds below which no version of each phase can be.

    Parameters
    ----------
    work
        Of :py:func:`count_work`.
    ceilings
        ``float32`` and ``bfloat16`` in FLOP/s and ``bytes`` in bytes/s.
    half
        The frozen networks may use the half-precision rate.
    """
    milliseconds = {}
    for phase, amount in work.items():
        fast = half and phase in ("synthesis", "teacher")
        rate = ceilings["bfloat16" if fast else "float32"]
        milliseconds[phase] = 1e3 * max(amount["flops"] / rate, amount["bytes"] / ceilings["bytes"])
    return milliseconds


def measure_ceilings(device: torch.device, repeats: int = 5) -> dict[str, float]:
    """Measure what the machine can do: the best of large products and convolutions, and a copy.

    Both are tried since libraries differ: MKL's matrix product is slow on some processors on which
    oneDNN's convolution is fast.

    Parameters
    ----------
    device
        The device.
    repeats
        How often each is done; the best counts.

    Returns
    -------
        ``float32`` and ``bfloat16`` in FLOP/s, ``bytes`` in bytes/s (read and written both count).
    """
    large = device.type == "cuda"
    sizes = (8192,) if large else (256, 1024, 2048)
    sides = (64,) if large else (4, 16, 32)
    contiguous, last = torch.contiguous_format, torch.channels_last
    found: dict[str, float] = {}
    for name in ("float32", "bfloat16"):
        kind = getattr(torch, name)
        rates = [
            _best_rate(partial(_product, device, kind), sizes, device, repeats),
            _best_rate(partial(_convolution, device, kind, contiguous), sides, device, repeats),
            _best_rate(partial(_convolution, device, kind, last), sides, device, repeats),
        ]
        found[name] = max(rates)
    source = torch.ones(2**30 if large else 2**26, device=device)
    target = torch.empty_like(source)
    seconds = _best(lambda: target.copy_(source), device, repeats)
    found["bytes"] = 2 * source.numel() * source.element_size() / seconds
    return found


def _product(device: torch.device, kind: torch.dtype, size: int) -> tuple[int, Callable[[], Any]]:
    """Prepare a matrix product: its operations, and what does it."""
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return FLOPS_PER_MULTIPLY_ADD * size**3, lambda: left @ right


def _convolution(
    device: torch.device, kind: torch.dtype, layout: torch.memory_format, side: int
) -> tuple[int, Callable[[], Any]]:
    """Prepare a convolution of 3x3 over 512 channels: its operations, and what does it."""
    channels, batch = 512, 32 if device.type == "cuda" else 4
    image = torch.randn(batch, channels, side, side, device=device).to(kind, memory_format=layout)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(kind)
    operations = FLOPS_PER_MULTIPLY_ADD * 9 * channels**2 * batch * side**2
    return operations, lambda: nn.functional.conv2d(image, weight, padding=1)


def _best_rate(
    prepare: Callable[[int], tuple[int, Callable[[], Any]]],
    sizes: Sequence[int],
    device: torch.device,
    repeats: int,
) -> float:
    """Give the best FLOP/s over the sizes, leaving out those that would take too long.

    A processor without instructions for bfloat16 multiplies its matrices hundreds of times slower.
    """
    best = 0.0
    for size in sizes:
        operations, action = prepare(size)
        if best and operations / best > PATIENCE:
            break
        best = max(best, operations / _best(action, device, repeats))
    return best


def _best(action: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Give the seconds of the fastest of several runs; slow ones are not repeated for long."""
    times: list[float] = []
    with torch.no_grad():
        # the first warms up: it does not count
        while len(times) < 2 or (len(times) <= repeats and sum(times[1:]) < PATIENCE):
            _synchronise(device)
            started = time.perf_counter()
            action()
            _synchronise(device)
            times.append(time.perf_counter() - started)
    return min(times[1:])


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _count(network: nn.Module, example: torch.Tensor, of_weights: int) -> dict[str, float]:
    """Count a network's work for one image, on no device."""
    outputs = [0.0]
    # a copy without the numbers
    copied = copy.deepcopy(network, _shapes_only(network)).eval()

    def add(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001
        # norms and rectifiers can be a part of the layer before them
        if isinstance(module, nn.Conv2d | nn.Linear | Linear):
            outputs[0] += output.numel()

    for module in copied.modules():
        module.register_forward_hook(add)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copied(example)
    parameters = sum(p.numel() for p in copied.parameters())
    return {
        "flops": float(counter.get_total_flops()),
        "bytes": 2.0 * of_weights * outputs[0],
        "weights": float(of_weights * parameters),
    }


def _shapes_only(network: nn.Module) -> dict[int, Any]:
    """Make a memo for :py:func:`copy.deepcopy` that replaces tensors by ones without storage."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        empty = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        memo[id(parameter)] = empty
    for tensor in network.buffers():
        memo[id(tensor)] = tensor.to("meta")
    return memo


def _scale(work: dict[str, float], batch: int, steps: int) -> dict[str, float]:
    return {
        "flops": steps * batch * work["flops"],
        "bytes": steps * (batch * work["bytes"] + work["weights"]),
    }
