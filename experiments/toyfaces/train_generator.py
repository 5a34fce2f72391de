"""Train the ToyFaces generator: StyleGAN2's synthesis, by regression on renderings.

Coordinate i of z, normalised as the mapping does it, is an identity parameter or the normal
quantile of a condition. The mapping is not trained but built: w holds the rectified z and the
rectified -z, whose difference gives z back. So every w, also one that was moved by noise, stands
for a known face, and no discriminator is needed: the loss is the difference to its rendering, in
pixels and in edges, at three scales, and in the embeddings of the ToyFaces teacher, which sees the
small things that tell people apart and hardly count in pixels.
"""

import copy
import functools
import logging
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.generators import save_generator
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import GAIN, LEAK, Generator
from bob.paper.ijcb2023_synthdistill.recognition.inference import for_inference
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import (
    CONDITION_NAMES,
    IDENTITY_NAMES,
    conditions_from_uniform,
    spreads,
)
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

logger = logging.getLogger(__name__)

ARCHITECTURE = {
    "z_dim": 52,
    "w_dim": 104,
    "resolution": 64,
    "channel_base": 2048,
    "channel_max": 96,
    "mapping_layers": 1,
    "mapping_multiplier": 1.0,
    "conv_clamp": None,
}

SEED = 1

WIDTH = 1.25
"""Standard deviation of z before rectification: noise of N(0, I) in w moves a face by about
0.67 standard deviations, so that it is visibly related, and another."""

# a photograph's place and grain are no business of a generator of aligned faces
_IGNORED = ("roll", "photo_x", "photo_y", "photo_scale", "seed")
_IGNORED += ("occluder_x", "occluder_y", "occluder_angle")
VARIED = tuple(
    name
    for name, spread in spreads("generator").items()
    if name not in _IGNORED and spread.probability == 1.0 and spread.high > spread.low
)
"""The conditions that the generator varies."""

Z_DIM = len(IDENTITY_NAMES) + len(VARIED)


def build_mapping(mapping: nn.Module) -> None:
    """Set the weights of a mapping of one layer from z to w, twice as many, and w's average."""
    layer = mapping.get_submodule("fc0")
    rows = torch.eye(layer.weight.shape[1]) * WIDTH
    with torch.no_grad():
        # the layer divides by the root of its inputs
        layer.weight.copy_(torch.cat([rows, -rows]) * len(rows) ** 0.5)
        layer.bias.zero_()
        # of a rectified normal number: gain (1 - leak) / sqrt(2 pi) standard deviations
        mapping.w_avg.fill_(GAIN * (1.0 - LEAK) * WIDTH / (2.0 * torch.pi) ** 0.5)
    mapping.requires_grad_(False)


def describe(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the identities and conditions to render that w ``[B, w_dim]`` stands for.

    It is exact where w comes from the mapping.
    """
    plus, minus = w.chunk(2, dim=1)
    z = (plus - minus) / (GAIN * (1.0 + LEAK) * WIDTH)
    people = len(IDENTITY_NAMES)
    uniform = numpy.full((len(z), len(CONDITION_NAMES)), 0.5)
    columns = [CONDITION_NAMES.index(name) for name in VARIED]
    uniform[:, columns] = torch.special.ndtr(z[:, people:].double()).numpy()
    return z[:, :people].contiguous(), conditions_from_uniform(uniform, "generator")


@torch.no_grad()
def targets(mapping: nn.Module, batch_size: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw w ``[B, w_dim]`` of batch ``index`` and render its faces ``[B, 3, R, R]``, uint8.

    Half of them stand at a w that was moved, as dynamic sampling will.
    """
    rng = numpy.random.default_rng([toyfaces.TRAINING_SEED, 3, SEED, index])
    z = rng.standard_normal((batch_size, ARCHITECTURE["z_dim"]))
    w = mapping(torch.from_numpy(z).float())[:, 0].clone()
    moved = batch_size // 2
    noise = torch.from_numpy(rng.standard_normal((moved, w.shape[1]))).float()
    w[:moved] += noise * torch.from_numpy(rng.random((moved, 1))).float()
    return w, faces.to_uint8(render(*describe(w), ARCHITECTURE["resolution"], "ffhq"))


def difference(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Compare images in pixels and edges at three scales, the cropped face counting twice."""
    weight = torch.ones_like(wanted[:1, :1])
    rows, columns = faces.crop_box(wanted.shape[-1])
    weight[:, :, rows, columns] = 2.0
    error = (made - wanted) * weight
    total = error.new_zeros(())
    for scale in range(3):
        error = F.avg_pool2d(error, 2) if scale else error
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        total = total + error.abs().mean() + edges + error.square().mean()
    return total


def train_generator(
    path: Path, teacher: Path, images: int = 152_000, batch_size: int = 16, workers: int = 1
) -> None:
    """Train a generator on renderings, by a teacher's view, and write its averaged weights."""
    torch.manual_seed(SEED)
    generator = Generator(**ARCHITECTURE)
    build_mapping(generator.mapping)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("affine.weight"):
                # random styles of unit variance have to be unlearned first: start nearer to none
                parameter.mul_(0.3)
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    batch = functools.partial(targets, average.mapping, batch_size)
    steps = images // batch_size
    batches = DataLoader(range(steps), batch_size=None, collate_fn=batch, num_workers=workers)  # type: ignore[arg-type]
    judge = for_inference(load_teacher(teacher))

    generator.train().to(memory_format=torch.channels_last)
    generator.set_precision(torch.bfloat16)
    parameters = list(generator.synthesis.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1.2e-2, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.2e-2, total_steps=steps + 1, pct_start=0.03, div_factor=10
    )
    start = time.monotonic()
    for step, (w, pixels) in enumerate(batches):
        made = generator.synthesis(w.unsqueeze(1).expand(-1, generator.num_ws, -1))
        wanted = faces.from_uint8(pixels)
        with torch.no_grad():
            known = judge(faces.crop(wanted))
        other = 1.0 - F.cosine_similarity(judge(faces.crop(made)), known).mean()
        loss = difference(made, wanted) + other
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        decay = min(0.99, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.synthesis.parameters(), parameters, strict=True):
                mean.lerp_(value, 1.0 - decay)
        if step % 250 == 0 or step + 1 == steps:
            logger.info(
                "generator: step %d of %d, %.0f s: loss %.4f, of it the teacher's view %.4f",
                *(step, steps, time.monotonic() - start, loss.item(), other.item()),
            )
    save_generator(path, average)
