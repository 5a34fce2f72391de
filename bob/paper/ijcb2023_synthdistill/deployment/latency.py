"""How long one face takes, in torch and in onnxruntime."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..faces import FACE_SIZE
from ..machine import processor
from ..recognition.onnx_network import open_session
from .onnx_export import INPUT

PASSES, WARM_UP = 200, 20
"""The first passes allocate memory and choose algorithms."""


def measure_latency(network: nn.Module, models: Mapping[str, Path]) -> dict[str, Any]:
    """Time batches of one face on the CPU, with one thread and with all.

    Parameters
    ----------
    network
        The student in torch, which takes pixels.
    models
        ONNX files by name.

    Returns
    -------
        ``processor``, ``passes``, and ``ms``: for ``torch`` and each name, by number of threads,
        ``median`` and ``p95`` (95th percentile) in milliseconds.
    """
    face = np.random.default_rng(0).uniform(0, 255, (1, 3, FACE_SIZE, FACE_SIZE))
    tensor = torch.from_numpy(face := face.astype(np.float32))
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("torch", *models)}
    for threads in sorted({1, os.cpu_count() or 1}):
        with _torch_threads(threads), torch.inference_mode():
            found["torch"][str(threads)] = _percentiles(lambda: network(tensor))
        for name, path in models.items():
            session = open_session(path, threads)
            found[name][str(threads)] = _percentiles(lambda s=session: s.run(None, {INPUT: face}))  # type: ignore[misc]
    return {"processor": processor(), "passes": PASSES, "ms": found}


def _percentiles(embed: Callable[[], Any]) -> dict[str, float]:
    times = []
    for _ in range(WARM_UP + PASSES):
        started = time.perf_counter()
        embed()
        times.append(1e3 * (time.perf_counter() - started))
    median, p95 = np.percentile(times[WARM_UP:], [50, 95])
    return {"median": round(float(median), 3), "p95": round(float(p95), 3)}


@contextlib.contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
