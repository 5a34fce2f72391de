"""Draw the pictures of ToyFaces: people by conditions, generator samples, a walk in w, pairs."""

from pathlib import Path

import click
import numpy
import torch
from PIL import Image

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.files import atomic_write
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import sample_conditions
from bob.paper.ijcb2023_synthdistill.toyfaces.identities import sample_identities
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

COLUMNS = ("frontal", "mixed", "mixed", "mixed", "pose", "profile", "young", "old")


def save_grid(images: torch.Tensor, columns: int, path: Path) -> None:
    """Write images ``[N, 3, H, W]`` in [-1, 1] as one PNG, row by row."""
    rows = faces.to_uint8(images).unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2)
    height, width = rows.shape[0] * rows.shape[1], rows.shape[2] * rows.shape[3]
    with atomic_write(path) as temporary:
        picture = Image.fromarray(rows.reshape(height, width, 3).numpy())
        # 256 colours, dithered: a third of the bytes
        colours = picture.quantize(256)
        picture.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).save(
            temporary, format="PNG", optimize=True
        )


def people(rng: numpy.random.Generator, count: int = 4) -> torch.Tensor:
    """Render people, a row each, by conditions, a column each."""
    identities = sample_identities(count, rng).repeat_interleave(len(COLUMNS), 0)
    conditions = [sample_conditions(1, rng, kind) for _ in range(count) for kind in COLUMNS]
    return render(identities, torch.cat(conditions))


@click.command()
@click.option("--generator", type=click.Path(path_type=Path), default=toyfaces.GENERATOR)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent / "pictures",
)
@click.option("--seed", default=3, show_default=True)
@torch.no_grad()
def main(generator: Path, output: Path, seed: int) -> None:
    """Write people.png, samples.png, walk.png and pairs.png."""
    rng = numpy.random.default_rng(seed)
    torch.manual_seed(seed)
    network = load_generator(generator)
    save_grid(people(rng), len(COLUMNS), output / "people.png")

    ws = network.mapping(torch.randn(40, network.z_dim))
    save_grid(network.synthesis(ws), 10, output / "samples.png")

    start, end = network.mapping(torch.randn(4, network.z_dim)), ws[:4]
    steps = [torch.lerp(start, end, i / 9) for i in range(10)]
    walk = torch.stack([network.synthesis(w) for w in steps], dim=1).flatten(0, 1)
    save_grid(walk, 10, output / "walk.png")

    # what dynamic sampling does: fresh above, re-sampled below, with c coefficient = 0.5 and 1
    noise = torch.randn(8, 1, network.w_dim)
    fresh, sampled = network.synthesis(ws[:8]), network.synthesis(ws[:8] + noise)
    half = network.synthesis(ws[:8] + 0.5 * noise)
    save_grid(faces.crop(torch.cat([fresh, half, sampled])), 8, output / "pairs.png")


if __name__ == "__main__":
    main()
