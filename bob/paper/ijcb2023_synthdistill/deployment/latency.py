"""How long one face takes, in torch and in onnxruntime."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..evaluation.complexity import time_passes
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
    face = face.astype(np.float32)
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("torch", *models)}
    for threads in sorted({1, os.cpu_count() or 1}):
        passes: dict[str, Any] = {"torch": partial(network, torch.from_numpy(face))}
        for name, path in models.items():
            passes[name] = partial(open_session(path, threads).run, None, {INPUT: face})
        for name, embed in passes.items():
            times = 1e3 * np.array(time_passes(embed, PASSES, WARM_UP, threads))
            median, p95 = np.percentile(times, [50, 95]).round(3).tolist()
            found[name][str(threads)] = {"median": median, "p95": p95}
    return {"processor": processor(), "passes": PASSES, "ms": found}
