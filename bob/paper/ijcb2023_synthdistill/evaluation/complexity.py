"""What a recogniser costs: parameters, multiply-adds, size of its file, time for an image.

Multiply-adds are counted by torch's flop counter for one image, forward only, and are half of its
FLOPs: one multiplication with its addition is one multiply-add. Only matrix products and
convolutions count; norms, activations and biases do not, as is usual. Papers that print FLOPs mean
now the one, now the other.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..faces import FACE_SIZE


@dataclass(frozen=True)
class Complexity:
    """The cost of a recogniser.

    Parameters
    ----------
    parameters
        Number of parameters.
    multiply_adds
        Multiply-adds for one image, forward.
    file_size
        Bytes of its file, or None without one.
    seconds
        Seconds for one image on this machine's CPU (median, one thread), or None if not measured.
    """

    parameters: int
    multiply_adds: int
    file_size: int | None = None
    seconds: float | None = None


def measure_complexity(
    network: nn.Module, path: Path | None = None, timed: bool = False
) -> Complexity:
    """Count and, if asked for, time a recogniser.

    Parameters
    ----------
    network
        From faces ``[B, 3, 112, 112]`` to embeddings; on the CPU if it is timed.
    path
        Its file.
    timed
        Whether to measure the time for an image: it depends on the machine and on what else runs.
    """
    return Complexity(
        parameters=count_parameters(network),
        multiply_adds=count_multiply_adds(network),
        file_size=path.stat().st_size if path else None,
        seconds=measure_seconds(network) if timed else None,
    )


def count_parameters(network: nn.Module) -> int:
    """Count the parameters, shared ones once; the statistics of norms are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, size: int = FACE_SIZE) -> int:
    """Count the multiply-adds of one forward pass for one image.

    Parameters
    ----------
    network
        From images ``[1, 3, size, size]``. On the meta device nothing is computed.
    size
        Height and width, in pixels.

    Returns
    -------
        Half of the FLOPs of torch's counter.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    with _evaluating(network), counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size, device=device))
    return counter.get_total_flops() // 2


def measure_seconds(network: nn.Module, repeats: int = 50, warm_up: int = 5) -> float:
    """Measure the seconds for one image on the CPU, with one thread: the median of some passes.

    Parameters
    ----------
    network
        On the CPU.
    repeats
        Number of passes that are timed.
    warm_up
        Number of passes before, which allocate memory and choose algorithms.
    """
    image = torch.zeros(1, 3, FACE_SIZE, FACE_SIZE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _evaluating(network), torch.inference_mode():
            for _ in range(warm_up):
                network(image)
            return statistics.median(_time(network, image) for _ in range(repeats))
    finally:
        torch.set_num_threads(threads)


def _time(network: nn.Module, image: torch.Tensor) -> float:
    start = time.perf_counter()
    network(image)
    return time.perf_counter() - start


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Hold a network in evaluation mode, and give each part back the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
