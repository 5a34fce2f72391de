"""How long one face takes, in torch and in onnxruntime."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..evaluation.complexity import time_passes, torch_threads
from ..faces import FACE_SIZE
from ..machine import processor
from ..recognition.onnx_network import open_session
from .onnx_export import INPUT

PASSES, WARM_UP = 200, 20


def measure_latency(network: nn.Module, models: Mapping[str, Path]) -> dict[str, Any]:
    """Time batches of one face on the CPU, with one thread and with all.

    ``network`` is the student in torch, which takes pixels, ``models`` are ONNX files by name.
    Gives, for ``torch`` and each name, by number of threads, median and 95th percentile.
    """
    face = np.random.default_rng(0).uniform(0, 255, (1, 3, FACE_SIZE, FACE_SIZE))
    tensor = torch.from_numpy(face := face.astype(np.float32))
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("torch", *models)}
    for threads in sorted({1, os.cpu_count() or 1}):
        with torch_threads(threads), torch.inference_mode():
            found["torch"][str(threads)] = _percentiles(lambda: network(tensor))
        for name, path in models.items():
            session = open_session(path, threads)
            found[name][str(threads)] = _percentiles(lambda s=session: s.run(None, {INPUT: face}))  # type: ignore[misc]
    return {"processor": processor(), "passes": PASSES, "ms": found}


def _percentiles(embed: Callable[[], Any]) -> dict[str, float]:
    times = 1e3 * np.array(time_passes(embed, PASSES, WARM_UP))
    median, p95 = np.percentile(times, [50, 95])
    return {"median": round(float(median), 3), "p95": round(float(p95), 3)}
