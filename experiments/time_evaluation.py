#!/usr/bin/env python
"""Time the evaluation of a student against its bare network and against bob.bio.face's pipeline.

Every measurement is a process of its own (for its memory), and the variants take turns. Ratios
within one run compare; seconds of different runs need not. The images are random, as JPEG.
"""

import functools
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch

VARIANTS = {
    "bare": "the network alone, as it comes, on images in memory and their mirrored ones",
    "bare-fast": "the same in the batches, memory format and threads that our pipeline uses",
    "ours": "our pipeline, from the benchmark's file to the score file",
    "bob": "the same network in bob.bio.face's own pipeline (FaceCrop, RunnableModel)",
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--images", default=1000, show_default=True, help="A multiple of 40; LFW's: 12000.")
@click.option("--student", default="tinyfar-a", show_default=True, help="As create_student takes.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--variant", "variants", multiple=True, default=list(VARIANTS), show_default=True)
@click.option("--measure", type=click.Path(path_type=Path), hidden=True)
def time_evaluation(
    images: int, student: str, rounds: int, variants: tuple[str, ...], measure: Path | None
) -> None:
    """Time an evaluation; print medians, ratios and peak memory."""
    for variant in set(variants) - VARIANTS.keys():
        raise click.UsageError(f"--variant {variant}: one of {', '.join(VARIANTS)} was expected")
    if images <= 0 or images % 40:
        raise click.UsageError(f"--images {images}: a multiple of 40 (20 pairs) was expected")
    if measure is not None:
        click.echo(json.dumps(measure_once(variants[0], measure, images)))
        return
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), images, student)
        found: dict[str, list[dict]] = {variant: [] for variant in variants}
        for number in range(rounds):
            # there and back: what grows slower with time is not always measured last
            for variant in variants if number % 2 == 0 else variants[::-1]:
                words = [__file__, "--measure", name, "--variant", variant, "--images", str(images)]
                result = subprocess.run(  # noqa: S603 - this very script
                    [sys.executable, *words], stdout=subprocess.PIPE, check=True, text=True
                )
                found[variant].append(json.loads(result.stdout.splitlines()[-1]))
                click.echo(f"{variant}: {found[variant][-1]['seconds']:.2f} s", err=True)
    click.echo(table(found))


def prepare(folder: Path, images: int, student: str) -> None:
    """Write a benchmark of random images as a ``.bin``, and an untrained student."""
    import numpy as np
    import torch
    from PIL import Image

    from bob.paper.ijcb2023_synthdistill.benchmarks.bins import write_bin
    from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student

    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        fine = np.asarray(coarse.resize((112, 112), Image.Resampling.BICUBIC), dtype=np.int16)
        fine = (fine + rng.integers(-8, 9, fine.shape)).clip(0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(fine).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    half = images // 40
    write_bin(folder / "lfw.bin", encoded, ([True] * half + [False] * half) * 10)
    torch.manual_seed(0)
    save_student(folder / "student.safetensors", create_student(student, "random"))


def measure_once(variant: str, folder: Path, images: int) -> dict[str, float]:
    """Measure one variant in this process: seconds, and bytes of memory at the peak."""
    from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase

    student = folder / "student.safetensors"
    database = PairDatabase("lfw", folder / "lfw.bin", pairs=images // 2)
    if variant.startswith("bare"):
        seconds = bare(student, database, fast=variant == "bare-fast")
    else:
        seconds = pipeline(student, database, bobs=variant == "bob")
    return {"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def bare(student: Path, database: Any, fast: bool) -> float:
    """Time the network on decoded images: as it comes, or as our pipeline runs it."""
    import numpy as np
    import torch

    from bob.paper.ijcb2023_synthdistill import faces
    from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image
    from bob.paper.ijcb2023_synthdistill.evaluation.embedding import EmbeddingTransformer
    from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
    from bob.paper.ijcb2023_synthdistill.recognition.student import load_student

    pixels = np.stack([load_image(source) for source in database.opened.sources])
    if fast:
        embed = EmbeddingTransformer(NetworkRecipe("student", student)).transform
    else:
        network = load_student(student)

        def embed(pixels: np.ndarray) -> None:
            for at in range(0, len(pixels), 64):
                batch = faces.from_uint8(torch.from_numpy(pixels[at : at + 64]))
                network(batch)
                network(batch.flip(-1))

    with torch.inference_mode():
        embed(pixels[:64])
        start = time.perf_counter()
        embed(pixels)
        return time.perf_counter() - start


def pipeline(student: Path, database: Any, bobs: bool) -> float:
    """Time a pipeline from the database to the score file; imports are not counted."""
    import bob.bio.face.embeddings.pytorch  # noqa: F401 - not counted
    from bob.bio.base.pipelines import execute_pipeline_simple

    from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import student_pipeline

    dask = ("dask_client", "dask_n_partitions", "dask_partition_size", "dask_n_workers")
    with tempfile.TemporaryDirectory(dir=student.parent) as output:
        start = time.perf_counter()
        execute_pipeline_simple(
            pipeline=bobs_pipeline(student) if bobs else student_pipeline(student),
            database=database,
            groups=["dev"],
            output=output,
            write_metadata_scores=True,
            checkpoint=False,
            **dict.fromkeys(dask),
        )
        seconds = time.perf_counter() - start
        rows = (Path(output) / "scores-dev.csv").read_text().count("\n") - 1
    if rows != len(database.pairs()):
        raise RuntimeError(f"{rows} scores instead of {len(database.pairs())}")
    return seconds


def bobs_pipeline(path: Path) -> Any:
    """Make the pipeline that bob.bio.face makes for its own networks, with the student in it."""
    from bob.bio.base.algorithm import Distance
    from bob.bio.base.pipelines import PipelineSimple
    from bob.bio.face.embeddings.pytorch import RunnableModel
    from bob.bio.face.utils import embedding_transformer

    from bob.paper.ijcb2023_synthdistill.benchmarks.database import ALIGNED_EYES

    model = RunnableModel(
        functools.partial(mirroring, path), preprocessor=lambda x: x / 127.5 - 1.0, device="cpu"
    )
    return PipelineSimple(
        embedding_transformer((112, 112), model, ALIGNED_EYES, fixed_positions=ALIGNED_EYES),
        Distance(),
    )


def mirroring(path: Path) -> "torch.nn.Module":
    """Load the student, with the embedding of the mirrored image added."""
    from torch import nn

    from bob.paper.ijcb2023_synthdistill.recognition.student import load_student

    class Mirroring(nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return self.student(images) + self.student(images.flip(-1))

    network = Mirroring()
    network.student = load_student(path)
    return network


def table(found: dict[str, list[dict]]) -> str:
    """Print medians, in brackets the fastest and slowest, ratios and the peak memory."""
    seconds = {name: median(one["seconds"] for one in runs) for name, runs in found.items()}
    bases = [name for name in ("bare", "bare-fast", "ours") if name in found]
    lines = [
        "| variant | seconds | " + "".join(f"/ {name} | " for name in bases) + "peak memory |",
        "|---|---|" + "---|" * (len(bases) + 1),
    ]
    for name, runs in found.items():
        times = [one["seconds"] for one in runs]
        ratios = "".join(f" {seconds[name] / seconds[base]:.2f} |" for base in bases)
        memory = max(one["memory"] for one in runs) / 2**30
        spread = f"{seconds[name]:.2f} ({min(times):.2f} - {max(times):.2f})"
        lines.append(f"| {name} | {spread} |{ratios} {memory:.2f} GiB |")
    return "\n".join([*lines, "", *(f"{name}: {VARIANTS[name]}" for name in found)])


if __name__ == "__main__":
    time_evaluation()
