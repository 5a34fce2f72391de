"""Train the ToyFaces generator: StyleGAN2's synthesis, by regression on renderings.

Every w stands for a known face (see ``latents``), so that no discriminator is needed: the loss is
the difference to the rendering, in pixels and in edges, at three scales, and in the embeddings of
the ToyFaces teacher: it sees the small things that tell people apart, which hardly count in pixels.
"""

import copy
import logging
import time
from pathlib import Path

import click
import numpy
import torch
import torch.nn.functional as F
from latents import build_mapping, decode, describe
from photographs import SEED, stream
from torch import nn
from torch.utils.data import Dataset

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.generators import save_generator
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.inference import for_inference
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces import architectures
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render

logger = logging.getLogger("train_generator")

RESOLUTION = architectures.GENERATOR["resolution"]


class Targets(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches of w and the faces they stand for; batch i depends on the seed and i only.

    Parameters
    ----------
    generator
        Its mapping is used.
    batch_size
        Images in a batch. Half of them stand at a w that was moved, as dynamic sampling will.
    count
        Number of batches.
    seed
        Of the latents.
    """

    def __init__(
        self,
        generator: Generator,
        batch_size: int,
        count: int,
        seed: int,
    ) -> None:
        self.mapping = copy.deepcopy(generator.mapping).eval()
        self.batch_size = batch_size
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    @torch.no_grad()
    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw w ``[B, w_dim]`` and render its faces ``[B, 3, R, R]``, uint8."""
        if index >= self.count:
            raise IndexError(index)
        rng = numpy.random.default_rng([SEED, 3, self.seed, index])
        z = rng.standard_normal((self.batch_size, self.mapping.fc0.weight.shape[1]))
        w = self.mapping(torch.from_numpy(z).float())[:, 0].clone()
        moved = self.batch_size // 2
        noise = torch.from_numpy(rng.standard_normal((moved, w.shape[1]))).float()
        w[:moved] += noise * torch.from_numpy(rng.random((moved, 1))).float()
        faces_ = render(*describe(decode(w)), RESOLUTION, "ffhq")
        return w, faces.to_uint8(faces_)


def difference(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Compare images in pixels and edges at three scales, the cropped face counting twice."""
    weight = torch.ones_like(wanted[:1, :1])
    rows, columns = faces.crop_box(wanted.shape[-1])
    weight[:, :, rows, columns] = 2.0
    error = (made - wanted) * weight
    total = error.new_zeros(())
    for scale in range(3):
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        total = total + error.abs().mean() + edges + error.square().mean()
        if scale < 2:
            error = F.avg_pool2d(error, 2)
    return total


def strangeness(teacher: nn.Module, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Compare whom the teacher sees: 1 - cosine of the embeddings, averaged."""
    with torch.no_grad():
        known = teacher(faces.crop(wanted))
    return 1.0 - F.cosine_similarity(teacher(faces.crop(made)), known).mean()


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=toyfaces.GENERATOR)
@click.option("--teacher", type=click.Path(path_type=Path), default=toyfaces.TEACHER)
@click.option("--identity", default=1.0, show_default=True, help="Weight of the teacher's view.")
@click.option("--images", default=152_000, show_default=True, help="Renderings to learn from.")
@click.option("--batch-size", default=16, show_default=True)
@click.option("--rate", default=1.2e-2, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
def main(
    output: Path,
    teacher: Path,
    identity: float,
    images: int,
    batch_size: int,
    rate: float,
    seed: int,
    threads: int,
    workers: int,
) -> None:
    """Train the ToyFaces generator and write its averaged weights as safetensors."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    generator = Generator(**architectures.GENERATOR)
    build_mapping(generator)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("affine.weight"):
                # random styles of unit variance have to be unlearned first: start nearer to none
                parameter.mul_(0.3)
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    targets = Targets(generator, batch_size, images // batch_size, seed)
    judge = for_inference(load_teacher(teacher))

    generator.train()
    generator.set_precision(torch.bfloat16)
    generator.to(memory_format=torch.channels_last)
    parameters = list(generator.synthesis.parameters())
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=len(targets) + 1, pct_start=0.03, div_factor=10
    )
    start = time.monotonic()
    running = torch.zeros(2)
    for step, (w, pixels) in enumerate(stream(targets, workers, ahead=8)):
        ws = w.unsqueeze(1).expand(-1, generator.num_ws, -1)
        made, wanted = generator.synthesis(ws), faces.from_uint8(pixels)
        other = strangeness(judge, made, wanted)
        loss = difference(made, wanted) + identity * other
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        now = torch.stack([loss, other]).detach()
        running = running + (now - running) * max(0.02, 1.0 / (step + 1))
        decay = min(0.99, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.synthesis.parameters(), parameters, strict=True):
                mean.lerp_(value, 1.0 - decay)
        if step % 250 == 0 or step + 1 == len(targets):
            seconds = time.monotonic() - start
            logger.info(
                "step %d of %d, %.0f s: loss %.4f, of it the teacher's view %.4f",
                *(step, len(targets), seconds, *running.tolist()),
            )
            save_generator(output, average)


if __name__ == "__main__":
    main()
