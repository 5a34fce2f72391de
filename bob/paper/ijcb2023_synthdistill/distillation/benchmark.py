"""Time the training's iteration by phase, in turns with the plain path, beside its roofline.

Each variant works in a process of its own, with its own allocator, threads and peak of memory; this
one only directs.
"""

import contextlib
import dataclasses
import functools
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from torch.profiler import record_function

from .. import machine
from ..allocator import keep_buffers
from ..files import SynthDistillError
from .networks import assemble, create_fabric, create_student
from .options import Options
from .random_numbers import RandomNumbers
from .roofline import FlopCounter, least_bytes, roofline, seconds

PHASES = ("mapping", "synthesis", "crop", "teacher", "student forward", "backward", "optimizer")
"""The phases in the order of an iteration; its second step repeats all but the first."""


def run_benchmark(
    options: Options, iterations: int, warmup: int, compare: bool = False
) -> dict[str, Any]:
    """Time iterations of the training with these options; ``compare`` the plain path as well.

    Returns
    -------
        Plain values, as ``--json`` prints them: the roofline is ``floor_ms``, ``floor_phases_ms``
        and ``over_floor``.
    """
    # the published code: its precision, and the C library's allocator as it is
    plain = dataclasses.replace(
        options, plain=True, compile=False, autocast=False, precision="auto"
    )
    mine = "plain" if options.plain else "fast"
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(mine, plain if options.plain else options))]
        if compare:
            workers.append(stack.enter_context(Worker("plain", plain)))
        for index in range(warmup + iterations):
            # each goes first as often as the other: the order must not count
            for worker in workers[:: 1 if index % 2 == 0 else -1]:
                worker.ask("go")
        first, *others = (
            worker.ask("summary", warmup) | {"start_seconds": worker.start_seconds}
            for worker in workers
        )
        about = workers[0].ask("describe") | workers[0].ask("roofline")
    floor = sum(about["floor_phases_ms"].values())
    report = {
        "variant": mine,
        "settings": options.describe(),
        "iterations": iterations,
        **about,
        **first,
        "floor_ms": floor,
        "over_floor": first["ms"] / floor,
    }
    for other in others:
        report |= {"plain": other, "ratio": other["ms"] / first["ms"]}
    return report


class Worker(ProcessPoolExecutor):
    """A process that does what the timer of one variant is asked for."""

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(1, get_context("spawn"), _begin)
        self.name, self.options = name, options
        started = time.perf_counter()
        self.ask("describe")
        self.start_seconds = time.perf_counter() - started

    def ask(self, method: str, *arguments: Any) -> Any:
        """Let the process call a method of its timer, which is made first."""
        try:
            return self.submit(_ask, self.options, method, *arguments).result()
        except SynthDistillError as error:
            raise SynthDistillError(f"the {self.name} variant: {error.message}") from error
        except RuntimeError as error:
            raise SynthDistillError(
                f"the {self.name} variant ended early: {error} If nothing here says why, memory "
                "may have run out. Lower --batch-size."
            ) from error


def _begin() -> None:
    # stdout is the benchmark's, whatever a library prints; Ctrl-C ends this process without words
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Timer:
    """Builds networks and optimizer as the training does, does its iterations and times them.

    Where the options name no generator or teacher, one of the published size with random weights is
    taken.
    """

    def __init__(self, options: Options) -> None:
        from ..generators import load_generator
        from ..generators.stylegan2 import Generator
        from ..recognition.iresnet import LAYERS, IResNet
        from ..recognition.student import count_parameters
        from ..recognition.teacher import Teacher, load_teacher

        self.options = options
        if not options.plain:
            keep_buffers()
        torch.manual_seed(options.seed)
        paths = options.generator, options.teacher
        generator = load_generator(paths[0]) if paths[0] else Generator(num_fp16_res=4)
        teacher = load_teacher(paths[1]) if paths[1] else Teacher(IResNet(LAYERS["iresnet100"]))
        student = create_student(options, teacher.embedding_size)
        parts = (generator.mapping, generator.synthesis, teacher, student)
        self.weights = [count_parameters(part) for part in parts]
        fabric = create_fabric(options)
        self.device = fabric.device
        self.method = assemble(options, fabric, generator, teacher, student, clock=self.mark)
        self.method.student.train()
        self.iterations = 0
        self.phase = ""
        self.spans: list[tuple[str, Any, Any]] = []
        self.results: list[dict[str, Any]] = []

    def iterate(self) -> None:
        """Do an iteration, as the training does."""
        seed, batch = self.options.seed, self.options.batch_size
        numbers = RandomNumbers(seed, "benchmark", self.iterations, batch, self.device)
        self.iterations += 1
        self.last = self.method.iteration(numbers, range(batch))

    def go(self) -> None:
        """Do an iteration and time it."""
        self.spans.clear()
        milliseconds = 1e3 * seconds(self.device, self.iterate)
        phases = dict.fromkeys(PHASES, 0.0)
        for phase, first, last in self.spans:
            cuda = self.device.type == "cuda"
            phases[phase] += first.elapsed_time(last) if cuda else 1e3 * (last - first)
        losses = [result.loss.item() for result in self.last]
        self.results.append({"ms": milliseconds, "losses": losses, "phases": phases})

    @contextlib.contextmanager
    def mark(self, phase: str) -> Iterator[None]:
        """Time a phase, and mark it for torch's profiler; see :py:data:`~.step.Clock`.

        On CUDA by events on the stream, so that nothing waits for the device. The profiler's own
        sums would miss the backward pass, whose kernels come from another thread than its mark.
        """
        self.phase = phase
        first = self._now()
        with record_function(phase):
            yield
        self.spans.append((phase, first, self._now()))

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def summary(self, warmup: int) -> dict[str, Any]:
        """Give medians over the timed iterations after the warm-up, and the peak of memory."""
        timed = self.results[warmup:]
        milliseconds = statistics.median(result["ms"] for result in timed)
        return {
            "ms": milliseconds,
            "all_ms": [round(result["ms"], 1) for result in timed],
            "images_per_second": 2e3 * self.options.batch_size / milliseconds,
            "phases_ms": {p: statistics.median(r["phases"][p] for r in timed) for p in PHASES},
            "peak_memory_mib": peak_memory(self.device),
            "losses": timed[0]["losses"],
        }

    def describe(self) -> dict[str, Any]:
        """Name what is being timed."""
        name = f"{machine.processor()}, {os.cpu_count()} cores"
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        return {
            "device": f"{self.device.type}: {name}",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "images": 2 * self.options.batch_size,
        }

    def roofline(self) -> dict[str, Any]:
        """Count an iteration's work and measure the device: see :py:func:`~.roofline.roofline`."""
        eager = torch.compiler.set_stance("force_eager")
        with eager, FlopCounter(lambda: self.phase) as counter:
            self.iterate()
        moved = least_bytes(self.options, self.method.generator.resolution, *self.weights)
        return roofline(self.device, counter.flops, moved)


# one a process, made when it is first asked for something
_timer = functools.cache(Timer)


def _ask(options: Options, method: str, *arguments: Any) -> Any:
    return getattr(_timer(options), method)(*arguments)


def peak_memory(device: torch.device) -> float:
    """Give the peak of the device's memory, or of the process's on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # kilobytes, but bytes on macOS
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def format_table(report: Mapping[str, Any]) -> str:
    """Lay a report out: each phase's time, its share, its roofline, and the plain path's time."""
    import pandas as pd

    settings, plain = report["settings"], report.get("plain")
    rest = {"the rest": max(report["ms"] - sum(report["phases_ms"].values()), 0.0)}
    table = pd.DataFrame({"ms": report["phases_ms"] | rest | {"iteration": report["ms"]}})
    table["share %"] = 100 * table["ms"] / report["ms"]
    table["roofline ms"] = pd.Series(report["floor_phases_ms"] | {"iteration": report["floor_ms"]})
    table["over"] = table["ms"] / table["roofline ms"]
    if plain:
        table["plain ms"] = pd.Series(plain["phases_ms"] | {"iteration": plain["ms"]})
        table["ratio"] = table["plain ms"] / table["ms"]
    rates = {name: f"{rate / 1e9:,.1f}" for name, rate in report["ceilings"].items()}
    bandwidth = rates.pop("bytes")
    lines = [
        f"{report['device']}, {report['threads']} threads, torch {report['torch']}",
        f"{report['variant']}, precision {settings['precision']}, batch {settings['batch_size']}, "
        f"student {settings['student']}, generator {settings['generator'] or 'random'}, "
        f"teacher {settings['teacher'] or 'random'}; medians of {report['iterations']} iterations",
        "",
        table.to_string(float_format="{:,.2f}".format, na_rep=""),
        "",
        f"{report['images_per_second']:.2f} images/s (fresh and re-sampled), peak memory "
        f"{report['peak_memory_mib']:,.0f} MiB, started in {report['start_seconds']:.1f} s",
        "rates of this device: "
        + ", ".join(f"{rate} GFLOP/s {name}" for name, rate in rates.items())
        + f", {bandwidth} GB/s",
    ]
    if plain:
        lines.append(
            f"{report['ratio']:.2f} times as fast as the plain path, in turns, which takes "
            f"{plain['peak_memory_mib']:,.0f} MiB"
        )
    return "\n".join(lines)
