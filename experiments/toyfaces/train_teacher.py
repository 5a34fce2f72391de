"""Train the ToyFaces teacher: a small IResNet with ArcFace loss on labelled renderings.

Beside the loss a linear layer predicts the identity's parameters, which renderings, unlike
photographs, come labelled with: it saves most of the images.
"""

import functools
import logging
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from figures import accuracies
from torch import nn
from torch.utils.data import DataLoader

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import Teacher, save_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces.arcface import ArcFace
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import (
    IDENTITY_NAMES,
    PAIR_KINDS,
    sample_conditions,
    sample_identities,
)
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

logger = logging.getLogger(__name__)

ARCHITECTURE = {"layers": (1, 1, 1, 1), "widths": (8, 16, 32, 64), "embedding_size": 512}

KINDS = tuple(kind for pair in PAIR_KINDS.values() for kind in pair)
"""Kinds of photographs that the teacher learns from: those of the benchmarks, as often."""


def photographs(
    seed: int, people: torch.Tensor, batch_size: int, index: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Render batch ``index``: faces (uint8), labels, and the identities behind the labels."""
    rng = numpy.random.default_rng([toyfaces.TRAINING_SEED, 2, seed, index])
    labels = torch.from_numpy(rng.integers(len(people), size=batch_size))
    kinds = numpy.sort(rng.integers(len(KINDS), size=batch_size))
    conditions = torch.cat(
        [sample_conditions(int((kinds == i).sum()), rng, kind) for i, kind in enumerate(KINDS)]
    )
    return faces.to_uint8(render(people[labels], conditions)), labels, people[labels]


def train_teacher(
    path: Path,
    images: int = 100_000,
    people: int = 3000,
    batch_size: int = 128,
    workers: int = 1,
    pairs: int = 500,
    seed: int = 1,
) -> None:
    """Train a teacher on renderings, measure it, and write it as float16 safetensors.

    ``workers`` processes render beside this one, which takes one thread; ``pairs`` of each kind
    measure it on each benchmark.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = IResNet(**ARCHITECTURE)
    rng = numpy.random.default_rng([toyfaces.TRAINING_SEED, 1, seed])
    batch = functools.partial(photographs, seed, sample_identities(people, rng), batch_size)
    steps = images // batch_size
    batches = DataLoader(range(steps), batch_size=None, collate_fn=batch, num_workers=workers)  # type: ignore[arg-type]

    arcface = ArcFace(people, network.embedding_size, scale=24.0)
    parameters = nn.Linear(network.embedding_size, len(IDENTITY_NAMES))
    modules = nn.ModuleList([network, arcface, parameters]).train()
    trained = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=steps + 1, pct_start=0.05, div_factor=10
    )
    start = time.monotonic()
    for step, (pixels, labels, identities) in enumerate(batches):
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = network(faces.for_teacher(faces.from_uint8(pixels)))
        embeddings = embeddings.float()
        arcface.margin = 0.3 * min(1.0, 2.0 * step / steps)
        classes = arcface(embeddings, labels)
        error = F.mse_loss(parameters(embeddings), identities)
        optimizer.zero_grad()
        (classes + 3.0 * error).backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step + 1 == steps:
            logger.info(
                "teacher: step %d of %d, %.0f s: ArcFace %.3f, parameters %.3f",
                *(step, steps, time.monotonic() - start, classes.item(), error.item()),
            )
    network.eval()
    metadata = {
        "trained_on": f"{images} ToyFaces renderings of {people} people, seed {seed}",
        "seconds": round(time.monotonic() - start),
        "accuracies": accuracies(Teacher(network), pairs),
    }
    save_teacher(path, network.half(), metadata)
