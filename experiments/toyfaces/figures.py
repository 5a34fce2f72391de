"""Measure the shipped networks (teacher's accuracy, samples' likeness), and draw pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import scipy.linalg
import torch
from PIL import Image, ImageDraw

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.benchmarks.accuracy import ten_fold_accuracy
from bob.paper.ijcb2023_synthdistill.files import atomic_write
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import (
    PAIR_KINDS,
    sample_conditions,
    sample_identities,
)
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

Recogniser = Callable[[torch.Tensor], torch.Tensor]

# not the seed of the benchmarks, nor of anything that is trained on
SEED = 4711


def draw_pairs(benchmark: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Render pairs like those of a benchmark, ``count`` genuine and as many others, in turns.

    Left and right faces, each ``[2 count, 3, 112, 112]``.
    """
    rng = numpy.random.default_rng([SEED, list(PAIR_KINDS).index(benchmark)])
    left = sample_identities(2 * count, rng)
    right = left.clone()
    right[1::2] = sample_identities(count, rng)
    one, two = (sample_conditions(2 * count, rng, kind) for kind in PAIR_KINDS[benchmark])
    return render(left, one), render(right, two)


@torch.inference_mode()
def embed(recogniser: Recogniser, images: torch.Tensor) -> torch.Tensor:
    """Embed faces in batches."""
    return torch.cat([recogniser(part) for part in images.split(128)])


def accuracy(recogniser: Recogniser, left: torch.Tensor, right: torch.Tensor) -> float:
    """Compute the 10-fold accuracy on pairs of :py:func:`draw_pairs`, mirror images added."""
    one, two = (embed(recogniser, x) + embed(recogniser, x.flip(3)) for x in (left, right))
    pairs = numpy.arange(len(one))
    scores = torch.cosine_similarity(one, two).numpy() - 1.0
    return ten_fold_accuracy(scores, pairs % 2 == 0, pairs * 10 // len(pairs)).accuracy


def accuracies(recogniser: Recogniser, pairs: int) -> dict[str, float]:
    """Compute the accuracy on ``pairs`` genuine and as many other pairs like each benchmark's."""
    return {name: accuracy(recogniser, *draw_pairs(name, pairs)) for name in PAIR_KINDS}


def frechet(one: torch.Tensor, other: torch.Tensor) -> float:
    """Compute the Fréchet distance of two sets of embeddings, taken as normal distributions.

    As the FID, with the teacher in the place of Inception: |m - m'|^2 + tr(C + C' - 2 (C C')^1/2).
    """
    means = [x.double().mean(dim=0).numpy() for x in (one, other)]
    spreads = [numpy.cov(x.double().numpy(), rowvar=False) for x in (one, other)]
    # the trace of the root is the sum of the roots of the eigenvalues
    values = scipy.linalg.eigvals(spreads[0] @ spreads[1]).real.clip(min=0.0)
    shift = numpy.square(means[0] - means[1]).sum()
    return float(shift + sum(numpy.trace(c) for c in spreads) - 2.0 * numpy.sqrt(values).sum())


def cosines(embeddings: torch.Tensor) -> dict[str, float]:
    """Describe the cosines between different images: mean and 99th percentile."""
    unit = torch.nn.functional.normalize(embeddings)
    off = (unit @ unit.t())[~torch.eye(len(unit), dtype=torch.bool)]
    return {"mean": off.mean().item(), "p99": numpy.quantile(off.numpy(), 0.99).item()}


def figures(generator: Path, teacher: Path, count: int = 2048, pairs: int = 500) -> dict[str, Any]:
    """Measure the figures of the card on ``count`` images of each kind."""
    rng = numpy.random.default_rng(SEED)
    torch.manual_seed(SEED)
    network, judge = load_generator(generator), load_teacher(teacher)

    def draw(kind: str) -> torch.Tensor:
        images = render(sample_identities(count, rng), sample_conditions(count, rng, kind))
        return embed(judge, images)

    drawn, again, mixed = draw("generator"), draw("generator"), draw("mixed")
    with torch.inference_mode():
        ws = network.mapping(torch.randn(count, network.z_dim))

        def sample(ws: torch.Tensor) -> torch.Tensor:
            return torch.cat([judge(faces.crop(network.synthesis(w))) for w in ws.split(128)])

        samples = sample(ws)
        steps = {c: c * torch.randn(count, 1, network.w_dim) for c in (0.5, 1.0, 2.0)}
        kept = {
            c: torch.cosine_similarity(samples, sample(ws + step)).mean().item()
            for c, step in steps.items()
        }
    return {
        "teacher_accuracy": accuracies(judge, pairs),
        "cosines_samples": cosines(samples),
        "cosines_renderings": cosines(drawn),
        "cosines_by_coefficient": kept,
        "frechet_samples_renderings": frechet(samples, drawn),
        "frechet_renderings_renderings": frechet(drawn, again),
        "frechet_samples_benchmark": frechet(samples, mixed),
        "frechet_renderings_benchmark": frechet(drawn, mixed),
    }


COLUMNS = ("frontal", "mixed", "mixed", "mixed", "pose", "profile", "young", "old")


def save_grid(images: torch.Tensor, titles: Sequence[str], path: Path) -> None:
    """Write images ``[N, 3, H, W]`` in [-1, 1] as one PNG, row by row, below titles."""
    rows = faces.to_uint8(images).unflatten(0, (-1, len(titles))).permute(0, 3, 1, 4, 2)
    height, width = rows.shape[0] * rows.shape[1], rows.shape[2] * rows.shape[3]
    picture = Image.new("RGB", (width, height + 20), "white")
    picture.paste(Image.fromarray(rows.reshape(height, width, 3).numpy()), (0, 20))
    for column, title in enumerate(titles):
        middle = (column + 0.5) * width / len(titles)
        ImageDraw.Draw(picture).text((middle, 10), title, "black", font_size=14, anchor="mm")
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


@torch.no_grad()
def draw_pictures(generator: Path, folder: Path, seed: int = 3, count: int = 4) -> None:
    """Write people.png, a row a person, and samples.png, each face beside itself re-sampled."""
    rng = numpy.random.default_rng(seed)
    torch.manual_seed(seed)
    identities = sample_identities(count, rng).repeat_interleave(len(COLUMNS), 0)
    conditions = [sample_conditions(1, rng, kind) for _ in range(count) for kind in COLUMNS]
    save_grid(render(identities, torch.cat(conditions)), COLUMNS, folder / "people.png")

    network = load_generator(generator)
    ws = network.mapping(torch.randn(4 * count, network.z_dim))
    moved = ws + torch.randn(4 * count, 1, network.w_dim)
    samples = network.synthesis(torch.stack([ws, moved], dim=1).flatten(0, 1))
    save_grid(faces.crop(samples), ("fresh", "re-sampled") * 4, folder / "samples.png")
