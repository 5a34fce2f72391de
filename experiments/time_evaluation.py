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
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    import torch

    from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase

VARIANTS = {
    "bare": "the network alone, as it comes, on images in memory and their mirrored ones",
    "bare-fast": "the same in the batches, memory format and threads that our pipeline uses",
    "ours": "our pipeline, from the benchmark's file to the score file",
    "ours-files": "the same, keeping Bob's feature files",
    "ours-dask": "the same as ours, with `-l local-parallel` (the start of workers not counted)",
    "bob": "the same network in bob.bio.face's own pipeline (FaceCrop, RunnableModel), in memory",
    "bob-files": "the same, keeping Bob's feature files",
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--images",
    type=click.IntRange(40),
    default=1000,
    show_default=True,
    help="Distinct images, a multiple of 40: LFW's size is 12000.",
)
@click.option("--student", default="tinyfar-a", show_default=True, help="As create_student takes.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--variant",
    "variants",
    type=click.Choice(list(VARIANTS)),
    multiple=True,
    default=("bare", "bare-fast", "ours", "bob"),
    show_default=True,
    help="What to time. May be repeated.",
)
@click.option("--bare-batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON instead.")
@click.option("--measure", type=click.Path(path_type=Path), hidden=True)
def time_evaluation(
    images: int,
    student: str,
    rounds: int,
    variants: tuple[str, ...],
    bare_batch_size: int,
    as_json: bool,
    measure: Path | None,
) -> None:
    """Time an evaluation, and print medians, ratios, a breakdown and peak memory."""
    if images % 40:
        raise click.UsageError(f"--images {images}: a multiple of 40 (20 pairs) was expected")
    if measure is not None:
        click.echo(json.dumps(_measure(variants[0], measure, images, bare_batch_size)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, images, student)
        found: dict[str, list[dict]] = {variant: [] for variant in variants}
        for number in range(rounds):
            # there and back: what grows slower with time is not always measured last
            for variant in variants if number % 2 == 0 else variants[::-1]:
                words = [__file__, "--measure", name, "--variant", variant]
                words += ["--images", str(images), "--bare-batch-size", str(bare_batch_size)]
                result = subprocess.run(  # noqa: S603 - this very script
                    [sys.executable, *words], stdout=subprocess.PIPE, check=True, text=True
                )
                found[variant].append(json.loads(result.stdout.splitlines()[-1]))
                click.echo(f"{variant}: {found[variant][-1]['seconds']:.2f} s", err=True)
    if as_json:
        click.echo(json.dumps({"images": images, "student": student, "measured": found}, indent=2))
    else:
        click.echo(_table(found, images, student))


def _prepare(folder: Path, images: int, student: str) -> None:
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
    labels = [fold < half for _ in range(10) for half in [images // 40] for fold in range(2 * half)]
    write_bin(folder / "lfw.bin", encoded, labels)
    torch.manual_seed(0)
    save_student(folder / "student.safetensors", create_student(student, "random"))


def _measure(variant: str, folder: Path, images: int, batch_size: int) -> dict:
    """Measure one variant in this process."""
    start = time.perf_counter()
    if variant.startswith("bare"):
        pixels, decoding = _decoded(folder, images)
        seconds = _bare(folder, pixels, batch_size) if variant == "bare" else _fast(folder, pixels)
        measured = {"seconds": seconds, "decoding": decoding}
    else:
        measured = _pipeline(variant, folder, images)
    measured["whole process"] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if variant.endswith("-dask"):
        # of ended children the system tells the largest only
        peak += measured["workers"] * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {**measured, "memory": peak * 1024}


def _database(folder: Path, images: int) -> "PairDatabase":
    from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase

    return PairDatabase("lfw", folder / "lfw.bin", pairs=images // 2)


def _decoded(folder: Path, images: int) -> "tuple[np.ndarray, float]":
    """Decode all images; give them ``[N, 3, 112, 112]`` uint8, and the seconds."""
    import numpy as np

    from bob.paper.ijcb2023_synthdistill.benchmarks.images import load_image

    sources = _database(folder, images).opened.sources
    start = time.perf_counter()
    pixels = np.stack([load_image(source) for source in sources])
    return pixels, time.perf_counter() - start


def _bare(folder: Path, pixels: "np.ndarray", batch_size: int) -> float:
    """Run the network as it comes: torch's own threads, channels first."""
    import torch

    from bob.paper.ijcb2023_synthdistill import faces
    from bob.paper.ijcb2023_synthdistill.recognition.student import load_student

    network = load_student(folder / "student.safetensors")
    with torch.inference_mode():
        network(torch.zeros(batch_size, 3, 112, 112))
        start = time.perf_counter()
        for at in range(0, len(pixels), batch_size):
            batch = faces.from_uint8(torch.from_numpy(pixels[at : at + batch_size]))
            network(batch)
            network(batch.flip(-1))
        return time.perf_counter() - start


def _fast(folder: Path, pixels: "np.ndarray") -> float:
    """Run the network on images in memory as our pipeline runs it."""
    from bob.paper.ijcb2023_synthdistill.evaluation.embedding import EmbeddingTransformer
    from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe

    recipe = NetworkRecipe("student", folder / "student.safetensors")
    transformer = EmbeddingTransformer(recipe)
    transformer.transform(pixels[:16])
    start = time.perf_counter()
    transformer.transform(pixels)
    return time.perf_counter() - start


def _pipeline(variant: str, folder: Path, images: int) -> dict:
    """Run a pipeline from the database to the score file."""
    start = time.perf_counter()
    import bob.bio.face.embeddings.pytorch  # noqa: F401 - both pay for its imports
    import dask.distributed  # noqa: F401
    from bob.bio.base.pipelines import execute_pipeline_simple
    from bob.pipelines.distributed import get_local_parallel_client

    pipeline = _ours(folder) if variant.startswith("ours") else _bobs(folder)
    client = get_local_parallel_client() if variant.endswith("-dask") else None
    if client is not None:
        client.run(functools.partial(__import__, "bob.bio.base.pipelines"))
    imports = time.perf_counter() - start
    parts: dict[str, float] = {}
    if client is None:
        _watch(pipeline, parts)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        start = time.perf_counter()
        database = _database(folder, images)
        execute_pipeline_simple(
            pipeline=pipeline,
            database=database,
            dask_client=client,
            groups=["dev"],
            output=output,
            write_metadata_scores=True,
            checkpoint=variant.endswith("-files"),
            dask_n_partitions=None,
            dask_partition_size=None,
            dask_n_workers=None,
        )
        seconds = time.perf_counter() - start
        with (Path(output) / "scores-dev.csv").open() as scores:
            rows = sum(1 for _ in scores) - 1
    if rows != images // 2:
        raise RuntimeError(f"{rows} scores instead of {images // 2}")
    parts["database and the rest"] = seconds - sum(parts.values())
    workers = 0
    if client is not None:
        workers = len(client.cluster.workers)
        client.close()
        client.cluster.close()
    return {"seconds": seconds, "parts": parts, "imports": imports, "workers": workers}


def _watch(pipeline: Any, parts: dict[str, float]) -> None:
    """Time the steps of a pipeline where Bob calls them."""
    steps = {
        "enroll_templates": "decoding and embedding",
        "probe_templates": "decoding and embedding",
        "compute_scores": "scoring",
        "write_scores": "writing scores",
        "post_process": "writing scores",
    }

    def timed(function: Callable, part: str) -> Callable:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            parts[part] = parts.get(part, 0.0) + time.perf_counter() - start
            return result

        return run

    for name, part in steps.items():
        setattr(pipeline, name, timed(getattr(pipeline, name), part))


def _ours(folder: Path) -> Any:
    from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import student_pipeline

    return student_pipeline(folder / "student.safetensors")


def _bobs(folder: Path) -> Any:
    """Make the pipeline that bob.bio.face makes for its own networks, with the student in it."""
    from bob.bio.base.algorithm import Distance
    from bob.bio.base.pipelines import PipelineSimple
    from bob.bio.face.embeddings.pytorch import RunnableModel
    from bob.bio.face.utils import embedding_transformer

    from bob.paper.ijcb2023_synthdistill.benchmarks.database import ALIGNED_EYES

    model = RunnableModel(
        functools.partial(_mirroring, folder / "student.safetensors"),
        preprocessor=_to_unit,
        device="cpu",
    )
    return PipelineSimple(
        embedding_transformer((112, 112), model, ALIGNED_EYES, fixed_positions=ALIGNED_EYES),
        Distance(),
    )


def _to_unit(pixels: "torch.Tensor") -> "torch.Tensor":
    return pixels / 127.5 - 1.0


def _mirroring(path: Path) -> "torch.nn.Module":
    """Load the student, with the embedding of the mirrored image added."""
    import torch

    from bob.paper.ijcb2023_synthdistill.recognition.student import load_student

    class Mirroring(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = load_student(path)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            first, second = self.student(torch.cat([images, images.flip(-1)])).chunk(2)
            return first + second

    return Mirroring()


def _table(found: dict[str, list[dict]], images: int, student: str) -> str:
    """Print medians and ratios, the steps of the pipelines, and the spread."""
    seconds = {name: median(m["seconds"] for m in runs) for name, runs in found.items()}
    references = [name for name in ("bare", "bare-fast") if name in found]
    lines = [
        f"{student}, {images:,} images and as many mirrored, {len(next(iter(found.values())))} "
        "rounds; medians, in brackets the fastest and slowest",
        "",
        "| variant | seconds | " + "".join(f"/ {name} | " for name in references) + "peak memory |",
        "|---|---|" + "---|" * (len(references) + 1),
    ]
    for name, runs in found.items():
        times = [m["seconds"] for m in runs]
        ratios = "".join(f" {seconds[name] / seconds[base]:.2f} |" for base in references)
        memory = max(m["memory"] for m in runs) / 2**30
        lines.append(
            f"| {name} | {seconds[name]:.2f} ({min(times):.2f} - {max(times):.2f}) |{ratios} "
            f"{memory:.2f} GiB |"
        )
    if {"ours", "bob"} <= set(found):
        lines += ["", f"bob / ours: {seconds['bob'] / seconds['ours']:.2f}"]
    for name, runs in found.items():
        if runs[0].get("parts"):
            lines += ["", f"{name}:"]
            lines += [
                f"  {part}: {median(m['parts'][part] for m in runs):.2f} s"
                for part in runs[0]["parts"]
            ]
            lines.append(f"  not counted, imports: {median(m['imports'] for m in runs):.2f} s")
        elif "decoding" in runs[0]:
            decoding = median(m["decoding"] for m in runs)
            lines += ["", f"{name}:", f"  not counted, decoding in one thread: {decoding:.2f} s"]
    lines += ["", *(f"{name}: {VARIANTS[name]}" for name in found)]
    return "\n".join(lines)


if __name__ == "__main__":
    time_evaluation()
