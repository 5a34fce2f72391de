"""Measure the training on a device: one JSON file and one page of Markdown for PERFORMANCE.md.

``python experiments/measure_gpu.py --output FOLDER`` takes at most nine minutes on one GPU, with
random weights of the published size. It runs from the source tree, without Bob: it needs torch,
timm, safetensors, click and lightning-fabric. ``--device cpu --batches 2 --images 256`` tries it.
"""

import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bob.paper.ijcb2023_synthdistill import faces, machine  # noqa: E402
from bob.paper.ijcb2023_synthdistill.distillation.benchmark import PHASES, Timer  # noqa: E402
from bob.paper.ijcb2023_synthdistill.distillation.networks import (  # noqa: E402
    choose_device,
    create_student,
)
from bob.paper.ijcb2023_synthdistill.distillation.options import Options  # noqa: E402
from bob.paper.ijcb2023_synthdistill.distillation.roofline import seconds  # noqa: E402
from bob.paper.ijcb2023_synthdistill.files import atomic_write, write_record  # noqa: E402
from bob.paper.ijcb2023_synthdistill.recognition.own import lay_out  # noqa: E402
from bob.paper.ijcb2023_synthdistill.scripts import FOLDER, command  # noqa: E402

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"plain": True},
    "float32": {"precision": "32"},
    "float16": {"precision": "16", "autocast": True},
    "bfloat16": {"precision": "bf16", "autocast": True},
    "bfloat16, student float32": {"precision": "bf16"},
    "bfloat16 compiled": {"precision": "bf16", "autocast": True, "compile": True},
    "bfloat16 graph": {"precision": "bf16", "autocast": True, "graph": True},
}
"""Columns of the grid."""

PROFILED = ("plain", "float32", "float16", "bfloat16", "bfloat16 graph")
KERNELS = 12


def measure(settings: dict[str, Any], iterations: int, profiled: bool) -> dict[str, Any]:
    """Time iterations of one variant, one by one and without waiting in between."""
    timer = Timer(Options(**settings, initialisation="random"))
    for _ in range(1 + iterations):
        timer.go()
    alone = timer.summary(warmup=1)
    ms = 1e3 * seconds(timer.device, timer.iterate, iterations)
    rate = 2e3 * settings["batch_size"] / ms
    found = alone | {"ms": ms, "ms_alone": alone["ms"], "images_per_second": rate}
    if profiled:
        found |= profile(timer)
        if "graph" not in settings:  # which has no phases
            found |= timer.roofline()
    return found


def profile(timer: Timer, iterations: int = 3) -> dict[str, Any]:
    """Profile some iterations: kernels, launches of one, and how much of the time nothing ran."""
    cuda = timer.device.type == "cuda"
    kind = DeviceType.CUDA if cuda else DeviceType.CPU
    with torch.profiler.profile(
        activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    ) as profiler:
        seconds(timer.device, timer.iterate, iterations)
    cost = "self_device_time_total" if cuda else "self_cpu_time_total"
    kernels = [
        (event.key, event.count / iterations, getattr(event, cost) / 1e3 / iterations)
        for event in profiler.key_averages()
        # the marks are on the device's time line, too
        if event.device_type == kind and event.key not in PHASES
    ]
    found = {
        "kernels": sorted(kernels, key=lambda kernel: -kernel[2])[:KERNELS],
        "launches": sum(calls for _, calls, _ in kernels),
    }
    if cuda:
        events = [e for e in profiler.events() if e.device_type == kind and e.name not in PHASES]
        spans = sorted((event.time_range.start, event.time_range.end) for event in events)
        busy, until = 0.0, spans[0][0]
        for start, end in spans:
            busy += max(end - max(start, until), 0)
            until = max(until, end)
        found["idle_percent"] = 100 * (1 - busy / (until - spans[0][0]))
    return found


def time_nvidia(path: str, batch: int, device: str) -> dict[str, Any]:
    """Time NVIDIA's own synthesis, from a checkout of its repository, with its own operators."""
    sys.path.insert(0, path)
    from training.networks_stylegan2 import Generator

    sizes = {"channel_base": 16384, "channel_max": 512, "num_fp16_res": 4, "conv_clamp": 256}
    generator = Generator(512, 0, 512, 256, 3, **sizes).eval().requires_grad_(False).to(device)
    ws = generator.mapping(torch.randn(batch, 512, device=device), None)
    synthesise = functools.partial(generator.synthesis, ws)
    times = [seconds(torch.device(device), synthesise) for _ in range(6)]
    # the first compiles the operators
    return {"synthesis_ms": 1e3 * statistics.median(times[1:])}


def evaluate(settings: dict[str, Any], images: int) -> dict[str, Any]:
    """Time the embedding of aligned images as benchmarks do it: f(image) + f(mirrored image)."""
    options = Options(**settings, initialisation="random")
    device = torch.device(choose_device(options.device))
    student = lay_out(create_student(options).to(device).eval())
    batch = torch.randint(0, 256, (128, 3, faces.FACE_SIZE, faces.FACE_SIZE), dtype=torch.uint8)

    @torch.inference_mode()
    def embed() -> None:
        x = faces.from_uint8(batch.to(device))
        (student(x) + student(x.flip(-1))).cpu()

    embed()  # allocates, and chooses algorithms
    batches = -(-images // len(batch))
    rate = len(batch) / seconds(device, embed, batches)
    return {"images": batches * len(batch), "images_per_second": rate}


def run_tests() -> dict[str, Any]:
    """Run the tests that need a GPU, but the slow ones; give pytest's last line."""
    folders = [f"tests/{name}" for name in ("generators", "recognition", "distillation")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu and not slow", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return {"summary": (done.stdout or done.stderr).strip().splitlines()[-1]}


JOBS = {f.__name__: f for f in (measure, time_nvidia, evaluate, run_tests)}


def make_page(found: dict[str, Any]) -> str:
    """Write the tables; what was not measured is an empty cell."""
    grid, batch = found["grid"], str(found["batches"][0])
    eager, graph, plain = (grid[n][batch] for n in ("bfloat16", "bfloat16 graph", "plain"))
    best, share, published = graph if "ms" in graph else eager, None, None
    if "work" in eager:
        flops = sum(amount["flops"] for amount in eager["work"].values())
        share = 1e5 * flops / best["ms"] / eager["ceilings"]["bfloat16"]
    if "ms" in best and "ms" in plain:
        synthesis = plain["phases_ms"]["synthesis"]
        own = 2 * found["nvidia"].get("synthesis_ms", synthesis / 2)
        published = (plain["ms_alone"] - synthesis + own) / best["ms"]
    goals = [
        ("times the published step (NVIDIA's synthesis, else plain)", "5", published),
        ("images/s, fresh and re-sampled", "5,000", best.get("images_per_second")),
        ("% of the measured bfloat16 rate", "35", share),
        ("% of the profiled time in which nothing runs", "under 1", best.get("idle_percent")),
        ("peak memory, MiB", "under 8,192", best.get("peak_memory_mib")),
        ("kernels an iteration", "", best.get("launches")),
        ("evaluation, images/s", "", found["evaluation"].get("images_per_second")),
    ]
    rates = [
        [size, *(column[str(size)].get("images_per_second") for column in grid.values())]
        for size in found["batches"]
    ]
    profiled = {name: grid[name][batch] for name in PROFILED if "work" in grid[name][batch]}
    kinds = ("phases_ms", "floor_phases_ms")
    phases = [[p, *(c[kind][p] for c in profiled.values() for kind in kinds)] for p in PHASES]
    heads = [head for name in profiled for head in (name, "roofline")]
    networks = ", ".join(f"{kind} {name}" for kind, name in found["networks"].items())
    text = (
        f"### {found['device']}\n\ntorch {found['torch']}, {found['machine']['platform']}, "
        f"revision {found['revision']}; {networks}. Tests: "
        f"{found['tests'].get('summary', 'not run')}. By `experiments/measure_gpu.py`.\n"
    )
    name = "graph" if best is graph else "eager"
    text += table([f"bfloat16, {name}, batch {batch}", "at least", "measured"], goals)
    text += table(["images/s, batch", *grid], rates)
    text += table([f"ms, batch {batch}", *heads], phases)
    for name, column in profiled.items():
        text += table([f"{name}: kernel", "calls", "ms"], column["kernels"])
    return text


def table(head: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Lay rows out as a table of Markdown."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        return "" if value is None else str(value)[:90].replace("|", "/")

    lines = ["", *(f"| {' | '.join(map(cell, row))} |" for row in (head, *rows)), ""]
    lines.insert(2, "|---" * len(head) + "|")
    return "\n".join(lines)


@command()
@click.option("--output", type=FOLDER, default="measured")
@click.option("--device", default="cuda")
@click.option("--batches", default="128,32,64,256,512", help="The first is profiled.")
@click.option("--iterations", default=10, help="Timed, of each.")
@click.option("--minutes", default=9.0, help="In all.")
@click.option("--student", default="tinyfar-a")
@click.option("--generator", help="A file.  [default: random, of the published size]")
@click.option("--teacher", help="A file.  [default: random, of the published size]")
@click.option("--nvidia", help="A checkout of NVIDIA's stylegan3 repository, to be timed as well.")
@click.option("--images", default=20_000, help="Of the evaluation.")
@click.option("--tests/--no-tests", default=True)
@click.option("--job", hidden=True)
def main(
    output: Path,
    batches: str,
    iterations: int,
    minutes: float,
    nvidia: str | None,
    images: int,
    tests: bool,
    job: str | None,
    **base: Any,
) -> None:
    """Measure the training on one device, and write measured.json and measured.md."""
    if job is not None:
        function, arguments = json.loads(job)
        click.echo(json.dumps(JOBS[function](*arguments)))
        return
    end = time.monotonic() + 60 * minutes

    def do(function: Any, *arguments: Any) -> dict[str, Any]:
        """Do a job in a process of its own; ``not_measured`` says why there is nothing."""
        left = end - time.monotonic()
        words = json.dumps([function.__name__, arguments])
        click.echo(f"{left:4.0f} s left: {words}", err=True)
        command = [sys.executable, __file__, "--job", words]
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, check=True, timeout=max(left, 0.1)
            )
            return json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            return {"not_measured": "no time was left"}
        except subprocess.CalledProcessError as error:
            return {"not_measured": (error.stderr.strip() or str(error)).splitlines()[-1]}

    sizes, device = [int(batch) for batch in batches.split(",")], base["device"]
    grid: dict[str, Any] = {name: {} for name in VARIANTS}
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else machine.processor(),
        "torch": torch.__version__,
        "machine": machine.describe_machine(),
        "revision": machine.source_revision(),
        "networks": {name: base[name] or "random" for name in ("student", "generator", "teacher")},
        "batches": sizes,
        "evaluation": do(evaluate, base, images),
        "nvidia": do(time_nvidia, nvidia, sizes[0], device) if nvidia else {},
        "tests": do(run_tests) if tests else {},
        "grid": grid,
    }
    for batch in sizes:
        for name, column in grid.items():
            settings = {**base, **VARIANTS[name], "batch_size": batch}
            profiled = batch == sizes[0] and name in PROFILED
            column[str(batch)] = do(measure, settings, iterations, profiled)
    write_record(output / "measured.json", found)
    with atomic_write(output / "measured.md") as temporary:
        temporary.write_text(make_page(found), encoding="utf-8")
    click.echo(f"wrote {output / 'measured.md'}")


if __name__ == "__main__":
    main()
