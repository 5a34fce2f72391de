"""What a model costs: parameters, multiply-adds, file size, time for an image."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..faces import FACE_SIZE
from ..recognition.student import count_parameters
from ..weights import read_weights
from .network import NetworkRecipe


def model_properties(
    path: Path,
    kind: Literal["student", "teacher", "onnx"],
    *,
    timed: bool = False,
    networks: Sequence[str] = (),
) -> dict[str, float | None]:
    """Count, and if asked for time, what the model in a file costs.

    A student that is no timm model is made by one of ``networks`` (``package.module:name``): the
    one that its file names, or the only one. An ONNX file of kind ``onnx`` says itself what it was
    counted to be when it was exported.
    """
    chosen = None
    if kind == "student" and (named := read_weights(path, "a student")[1].get("network")):
        chosen = next((n for n in networks if n == named or len(networks) == 1), None)
    network: Any = NetworkRecipe(kind, path, chosen).load("cpu")
    if kind == "onnx":
        said = {name: network.metadata.get(name, "") for name in ("parameters", "multiply_adds")}
        counts = {name: float(text) if text.isdecimal() else None for name, text in said.items()}
    else:
        counts = {
            "parameters": float(count_parameters(network)),
            "multiply_adds": float(count_multiply_adds(network)),
        }
    image = torch.zeros(1, 3, FACE_SIZE, FACE_SIZE)
    seconds = float(np.median(time_passes(lambda: network(image), 50, 5))) if timed else None
    return {**counts, "file_size": float(path.stat().st_size), "seconds": seconds}


@torch.no_grad()
def count_multiply_adds(network: nn.Module) -> int:
    """Count the multiply-adds of one forward pass for one face.

    They are half of the FLOPs of torch's counter: only matrix products and convolutions count, as
    is usual. On the meta device nothing is computed. It leaves the network in evaluation mode.
    """
    network.eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, FACE_SIZE, FACE_SIZE, device=device))
    return counter.get_total_flops() // 2


@torch.inference_mode()
def time_passes(
    embed: Callable[[], Any], passes: int, warm_up: int, threads: int = 1
) -> list[float]:
    """Measure the seconds of each pass after the first, which allocate and choose algorithms.

    Torch computes with so many ``threads`` meanwhile.
    """
    before, times = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        for _ in range(warm_up + passes):
            started = time.perf_counter()
            embed()
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return times[warm_up:]
