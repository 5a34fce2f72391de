"""Train the ToyFaces teacher: a small IResNet with ArcFace loss on labelled renderings.

ArcFace: Deng et al., CVPR 2019. The angle between an embedding and the weights of its class is
widened by a margin before softmax. Beside it a linear layer predicts the identity's parameters,
which renderings, unlike photographs, come labelled with: it saves most of the images.
"""

import json
import logging
import time
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from pairs import measure
from photographs import Batches, stream
from torch import nn

from bob.paper.ijcb2023_synthdistill import faces, toyfaces
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import Teacher, save_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces import architectures
from bob.paper.ijcb2023_synthdistill.toyfaces.arcface import ArcFace
from bob.paper.ijcb2023_synthdistill.toyfaces.identities import IDENTITY_NAMES

logger = logging.getLogger("train_teacher")


def learn(
    network: IResNet,
    batches: Batches,
    *,
    rate: float,
    margin: float,
    scale: float,
    hint: float,
    workers: int,
    every: int,
    checkpoint: Path | None = None,
) -> None:
    """Train a network on all batches.

    Parameters
    ----------
    network
        Is trained, in place.
    batches
        What to learn from.
    rate
        Highest learning rate; it rises for 5 % of the batches and falls to zero as a cosine.
    margin, scale
        Of ArcFace; the margin rises for half of the batches.
    hint
        Weight of the loss on the identity's parameters.
    workers
        Processes that render.
    every
        Batches between two lines of the log.
    checkpoint
        File that is written with every line.
    """
    arcface = ArcFace(len(batches.identities), network.embedding_size, scale=scale)
    parameters = nn.Linear(network.embedding_size, len(IDENTITY_NAMES))
    modules = nn.ModuleList([network, arcface, parameters]).train()
    trained = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=len(batches) + 1, pct_start=0.05, div_factor=10
    )
    start = time.monotonic()
    for step, (pixels, labels, identities) in enumerate(stream(batches, workers)):
        images = faces.for_teacher(faces.from_uint8(pixels))
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = network(images)
        embeddings = embeddings.float()
        progress = step / len(batches)
        arcface.margin = margin * min(1.0, 2.0 * progress)
        classes = arcface(embeddings, labels)
        error = F.mse_loss(parameters(embeddings), identities)
        optimizer.zero_grad()
        (classes + hint * error).backward()
        optimizer.step()
        schedule.step()
        if step % every == 0 or step + 1 == len(batches):
            logger.info(
                "step %d of %d, %.0f s: ArcFace %.3f, parameters %.3f",
                *(step, len(batches), time.monotonic() - start, classes.item(), error.item()),
            )
            if checkpoint:
                save_teacher(checkpoint, network, {"step": step})


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=toyfaces.TEACHER)
@click.option("--images", default=100_000, show_default=True, help="Renderings to learn from.")
@click.option("--people", default=3000, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--rate", default=3e-3, show_default=True)
@click.option("--margin", default=0.3, show_default=True)
@click.option("--scale", default=24.0, show_default=True)
@click.option("--hint", default=3.0, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
def main(
    output: Path,
    images: int,
    people: int,
    batch_size: int,
    rate: float,
    margin: float,
    scale: float,
    hint: float,
    seed: int,
    threads: int,
    workers: int,
) -> None:
    """Train the ToyFaces teacher and write it as float16 safetensors."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    network = IResNet(**architectures.TEACHER)
    batches = Batches(people, batch_size, images // batch_size, seed)
    start = time.monotonic()
    learn(
        network,
        batches,
        rate=rate,
        margin=margin,
        scale=scale,
        hint=hint,
        workers=workers,
        every=50,
        checkpoint=output.with_suffix(".running.safetensors"),
    )
    seconds = round(time.monotonic() - start)
    network.eval()
    accuracies = measure(Teacher(network))
    output.with_suffix(".running.safetensors").unlink()
    logger.info("accuracies: %s", json.dumps(accuracies))
    save_teacher(
        output,
        network.half(),
        {
            "trained_on": f"{images} ToyFaces renderings of {people} people, seed {seed}",
            "seconds": seconds,
            "accuracies": accuracies,
        },
    )


if __name__ == "__main__":
    main()
