"""Measure the shipped networks: accuracy of the teacher, diversity and likeness of the samples."""

import json
from pathlib import Path

import click
import numpy
import scipy.linalg
import torch
from pairs import measure

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.recognition.teacher import Teacher, load_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import sample_conditions
from bob.paper.ijcb2023_synthdistill.toyfaces.identities import sample_identities
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render


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


@torch.inference_mode()
def embed(teacher: Teacher, images: torch.Tensor) -> torch.Tensor:
    """Embed faces in batches."""
    return torch.cat([teacher(part) for part in images.split(128)])


@click.command()
@click.option("--generator", type=click.Path(path_type=Path), default=toyfaces.GENERATOR)
@click.option("--teacher", type=click.Path(path_type=Path), default=toyfaces.TEACHER)
@click.option("--count", default=2048, show_default=True, help="Images of each kind.")
@click.option("--seed", default=4711, show_default=True)
def main(generator: Path, teacher: Path, count: int, seed: int) -> None:
    """Print the figures of the card as JSON."""
    rng = numpy.random.default_rng(seed)
    torch.manual_seed(seed)
    network, judge = load_generator(generator), load_teacher(teacher)

    def draw(kind: str) -> torch.Tensor:
        images = render(sample_identities(count, rng), sample_conditions(count, rng, kind))
        return embed(judge, images)

    drawn, again, mixed = draw("generator"), draw("generator"), draw("mixed")
    made, moved = [], []
    with torch.inference_mode():
        for _ in range(count // 128):
            ws = network.mapping(torch.randn(128, network.z_dim))
            noise = torch.randn(128, 1, network.w_dim)
            made.append(judge(faces.crop(network.synthesis(ws))))
            moved.append(judge(faces.crop(network.synthesis(ws + noise))))
    samples, neighbours = torch.cat(made), torch.cat(moved)
    figures = {
        "teacher_accuracy": measure(judge),
        "cosines_samples": cosines(samples),
        "cosines_renderings": cosines(drawn),
        "cosine_fresh_resampled": torch.cosine_similarity(samples, neighbours).mean().item(),
        "frechet_samples_renderings": frechet(samples, drawn),
        "frechet_renderings_renderings": frechet(drawn, again),
        "frechet_samples_benchmark": frechet(samples, mixed),
        "frechet_renderings_benchmark": frechet(drawn, mixed),
    }
    click.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
