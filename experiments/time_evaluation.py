#!/usr/bin/env python
"""Time our pipeline against the bare network and against bob.bio.face's own pipeline.

Every measurement is a process of its own (for its memory), and the variants take turns. Ratios
within one run compare; seconds of different runs need not. The images are random, as JPEG.
"""

import functools
import io
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from PIL import Image

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.benchmarks.bins import write_bin
from bob.paper.ijcb2023_synthdistill.benchmarks.database import ALIGNED_EYES, PairDatabase
from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import student_pipeline
from bob.paper.ijcb2023_synthdistill.recognition.student import (
    create_student,
    load_student,
    save_student,
)
from bob.paper.ijcb2023_synthdistill.scripts import command

VARIANTS = {
    "bare": "the network alone, on decoded images and their mirrored ones, 64 at a time",
    "ours": "our pipeline, from the benchmark's file to the score file",
    "bob": "the same network in bob.bio.face's own pipeline (FaceCrop, RunnableModel)",
}


@command()
@click.option("--images", default=1000, help="A multiple of 40; LFW's: 12000.")
@click.option("--student", default="tinyfar-a", help="As create_student takes.")
@click.option("--rounds", default=3)
def time_evaluation(images: int, student: str, rounds: int) -> None:
    """Time an evaluation; print medians, ratios and peak memory."""
    if images <= 0 or images % 40:
        raise click.UsageError(f"--images {images}: a multiple of 40 (20 pairs) was expected")
    found = []
    with tempfile.TemporaryDirectory() as name:
        prepare(folder := Path(name), images, student)
        for number in range(rounds):
            # there and back: what grows slower with time is not always measured last
            for variant in list(VARIANTS)[:: 1 if number % 2 == 0 else -1]:
                with ProcessPoolExecutor(1, get_context("spawn")) as process:
                    one = process.submit(measure_once, variant, folder, images).result()
                found.append({"variant": variant, **one})
                click.echo(f"{variant}: {one['seconds']:.2f} s", err=True)
    runs = pd.DataFrame(found).groupby("variant", sort=False)
    rows = runs["seconds"].agg(["median", "min", "max"])
    for base in ("bare", "ours"):
        rows[f"/ {base}"] = rows["median"] / rows.loc[base, "median"]
    rows["peak GiB"] = runs["memory"].max()
    click.echo(rows.to_string(float_format="{:.2f}".format))
    for name, meaning in VARIANTS.items():
        click.echo(f"{name}: {meaning}")


def prepare(folder: Path, images: int, student: str) -> None:
    """Write a benchmark of random images as a ``.bin``, and an untrained student."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(images):
        stream = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        coarse.resize((112, 112), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    half = images // 40
    write_bin(folder / "lfw.bin", encoded, ([True] * half + [False] * half) * 10)
    torch.manual_seed(0)
    save_student(folder / "student.safetensors", create_student(student, "random"))


def measure_once(variant: str, folder: Path, images: int) -> dict[str, float]:
    """Measure one variant in this process: seconds without imports, GiB of memory at the peak."""
    import bob.bio.face.embeddings.pytorch  # noqa: F401 - not counted

    student = folder / "student.safetensors"
    database = PairDatabase("lfw", folder / "lfw.bin", pairs=images // 2)
    if variant == "bare":
        pixels = np.stack([load_image(source) for source in database.opened.sources])
        action = functools.partial(embed_all, Mirroring(student), torch.from_numpy(pixels))
    else:
        make = {"ours": student_pipeline, "bob": bobs_pipeline}[variant]
        action = functools.partial(score, make, student, database, folder / variant)
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "memory": memory}


@torch.inference_mode()
def embed_all(network: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Embed decoded images."""
    for batch in pixels.split(64):
        network(faces.from_uint8(batch))


def score(make: Callable[[Path], Any], student: Path, database: Any, output: Path) -> None:
    """Make a pipeline and run it as `bob bio pipeline simple --no-dask --memory` does."""
    from bob.bio.base.pipelines import execute_pipeline_simple

    dask = ("dask_client", "dask_n_partitions", "dask_partition_size", "dask_n_workers")
    execute_pipeline_simple(
        pipeline=make(student),
        database=database,
        groups=["dev"],
        output=str(output),
        write_metadata_scores=True,
        checkpoint=False,
        force=True,
        **dict.fromkeys(dask),
    )


def bobs_pipeline(path: Path) -> Any:
    """Make the pipeline that bob.bio.face makes for its own networks, with the student in it."""
    from bob.bio.base.algorithm import Distance
    from bob.bio.base.pipelines import PipelineSimple
    from bob.bio.face.embeddings.pytorch import RunnableModel
    from bob.bio.face.utils import embedding_transformer

    model = RunnableModel(
        functools.partial(Mirroring, path), preprocessor=lambda x: x / 127.5 - 1.0, device="cpu"
    )
    crop = embedding_transformer((112, 112), model, ALIGNED_EYES, fixed_positions=ALIGNED_EYES)
    return PipelineSimple(crop, Distance())


class Mirroring(torch.nn.Module):
    """The student, with the embedding of the mirrored image added."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.student = load_student(path)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed faces."""
        return self.student(images) + self.student(images.flip(-1))


if __name__ == "__main__":
    time_evaluation()
