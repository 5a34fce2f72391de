"""Time the training's iteration by phase, in turns with the plain path, beside its roofline.

Each variant works in a process of its own, with its own allocator, threads and peak of memory; this
one only directs.
"""

import contextlib
import os
import resource
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from .roofline import count_flops, least_bytes, roofline, synchronise
from .step import StepResult

PHASES = ("mapping", "synthesis", "crop", "teacher", "student forward", "backward", "optimizer")
"""The phases in the order of an iteration; its second step repeats all but the first."""


def run_benchmark(
    settings: Mapping[str, Any], iterations: int, warmup: int, compare: bool
) -> dict[str, Any]:
    """Time iterations of the training with these options; ``compare`` the plain path as well.

    Returns
    -------
        Plain values, as ``--json`` prints them: the roofline is ``floor_ms``, ``floor_phases_ms``
        and ``over_floor``.
    """
    # the published code: its precision, and the C library's allocator as it is
    published = {"plain": True, "compile": False, "autocast": False, "precision": "auto"}
    plain = {**settings, **published}
    mine = "plain" if settings["plain"] else "fast"
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(mine, plain if settings["plain"] else settings))]
        if compare:
            workers.append(stack.enter_context(Worker("plain", plain)))
        for index in range(warmup + iterations):
            # each goes first as often as the other: the order must not count
            for worker in workers if index % 2 == 0 else workers[::-1]:
                worker.results.append(worker.ask("go"))
        about = workers[0].ask("describe") | workers[0].ask("roofline")
    first, *others = (worker.summary(warmup, about["images"]) for worker in workers)
    floor = sum(about["floor_phases_ms"].values())
    report = {
        "variant": mine,
        "settings": {name: v if v is None else str(v) for name, v in settings.items()},
        "iterations": iterations,
        **about,
        **first,
        "floor_ms": floor,
        "over_floor": first["ms"] / floor,
    }
    for other in others:
        report |= {"plain": other, "ratio": other["ms"] / first["ms"]}
    return report


class Worker(contextlib.AbstractContextManager):
    """A process that does iterations of one variant when told to."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.results: list[dict[str, Any]] = []
        started = time.perf_counter()
        context = get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, dict(settings)), daemon=True)
        self.process.start()
        other.close()
        self.ask("describe")
        self.start_seconds = time.perf_counter() - started

    def ask(self, request: str) -> dict[str, Any]:
        """Let the process do something; what it refuses in words is refused here."""
        try:
            self.pipe.send(request)
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise SynthDistillError(
                f"the {self.name} variant ended early: if nothing above says why, memory may have "
                "run out. Lower --batch-size."
            ) from error
        if isinstance(answer, SynthDistillError):
            raise SynthDistillError(f"the {self.name} variant: {answer.message}")
        return answer

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()

    def summary(self, warmup: int, images: int) -> dict[str, Any]:
        """Give the medians over the iterations after the warm-up."""
        timed = self.results[warmup:]
        milliseconds = statistics.median(result["ms"] for result in timed)
        return {
            "ms": milliseconds,
            "all_ms": [round(result["ms"], 1) for result in timed],
            "images_per_second": 1e3 * images / milliseconds,
            "phases_ms": median_phases(timed),
            "peak_memory_mib": timed[-1]["peak_memory_mib"],
            "start_seconds": self.start_seconds,
            "losses": timed[0]["losses"],
        }


def median_phases(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Give the median milliseconds of each phase."""
    return {p: statistics.median(r["phases"].get(p, 0.0) for r in results) for p in PHASES}


def _serve(pipe: Any, settings: dict[str, Any]) -> None:
    """Answer requests until there are no more, in a worker's process."""
    # whatever a library prints goes to stderr: stdout is the benchmark's, which hears Ctrl-C, too
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            timer = Timer(settings)
            while True:
                pipe.send(getattr(timer, pipe.recv())())
        except SynthDistillError as error:
            pipe.send(error)


class Timer:
    """Builds networks and optimizer as the training does, does its iterations and times them.

    Where the options name no generator or teacher, one of the published size with random weights is
    taken; the student's weights are always random.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from ..generators import load_generator
        from ..generators.stylegan2 import Generator
        from ..recognition.iresnet import LAYERS, IResNet
        from ..recognition.student import count_parameters
        from ..recognition.teacher import Teacher, load_teacher

        self.options = options = Options(**settings, initialisation="random")
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
        self.marks = Marks(self.device)
        self.method = assemble(options, fabric, generator, teacher, student, clock=self.marks)
        self.method.student.train()
        self.iterations = 0

    def iterate(self) -> tuple[StepResult, StepResult]:
        """Do an iteration, as the training does."""
        seed, batch = self.options.seed, self.options.batch_size
        numbers = RandomNumbers(seed, "benchmark", self.iterations, batch, self.device)
        self.iterations += 1
        return self.method.iteration(numbers, range(batch))

    def go(self) -> dict[str, Any]:
        """Do an iteration; give its ``ms``, ``phases`` (ms), ``losses`` and ``peak_memory_mib``."""
        synchronise(self.device)
        started = time.perf_counter()
        results = self.iterate()
        synchronise(self.device)
        milliseconds = 1e3 * (time.perf_counter() - started)
        return {
            "ms": milliseconds,
            "phases": self.marks.read(),
            "losses": [result.loss.item() for result in results],
            "peak_memory_mib": peak_memory(self.device),
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
        with count_flops(lambda: self.marks.phase) as flops:
            self.go()
        moved = least_bytes(self.options, self.method.generator.resolution, *self.weights)
        return roofline(self.device, flops, moved)


class Marks:
    """Mark the phases for torch's profiler, and time them; see :py:data:`~.step.Clock`.

    On CUDA by events on the stream, so that nothing waits for the device. The profiler's own sums
    would miss the backward pass, whose kernels come from another thread than its mark.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.phase = ""
        self.spans: list[tuple[str, Any, Any]] = []

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count what is done under this context as a part of ``phase``."""
        self.phase = phase
        first = self._now()
        with record_function(phase):
            yield
        self.spans.append((phase, first, self._now()))

    def _now(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def read(self) -> dict[str, float]:
        """Give the milliseconds of each phase since the last reading; the device is idle."""
        phases: dict[str, float] = defaultdict(float)
        for phase, first, last in self.spans:
            phases[phase] += first.elapsed_time(last) if self.cuda else 1e3 * (last - first)
        self.spans.clear()
        return dict(phases)


def peak_memory(device: torch.device) -> float:
    """Give the peak of the device's memory, or of the process's on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # kilobytes, but bytes on macOS
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def format_table(report: Mapping[str, Any]) -> str:
    """Lay a report out: each phase's time, its share, its roofline, and the plain path's time."""
    settings, plain = report["settings"], report.get("plain")
    total, floor = report["ms"], report["floor_phases_ms"] | {"iteration": report["floor_ms"]}
    lines = [
        f"{report['device']}, {report['threads']} threads, torch {report['torch']}",
        f"{report['variant']}, precision {settings['precision']}, batch {settings['batch_size']}, "
        f"student {settings['student']}, generator {settings['generator'] or 'random'}, "
        f"teacher {settings['teacher'] or 'random'}; medians of {report['iterations']} iterations",
        f"\n{'phase':16}{'ms':>10}{'share %':>9}{'roofline ms':>13}{'over':>8}"
        + (f"{'plain ms':>11}{'ratio':>8}" if plain else ""),
    ]
    phases = dict(report["phases_ms"])
    phases |= {"the rest": max(total - sum(phases.values()), 0.0), "iteration": total}
    for name, ms in phases.items():
        line = f"{name:16}{ms:10.1f}{100 * ms / total:9.1f}"
        if ms and name in floor:
            line += f"{floor[name]:13.2f}{ms / floor[name]:8.2f}"
            if plain:
                other = (plain["phases_ms"] | {"iteration": plain["ms"]})[name]
                line += f"{other:11.1f}{other / ms:8.2f}"
        lines.append(line)
    rates = dict(report["ceilings"])
    bandwidth = rates.pop("bytes") / 1e9
    reached = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s {name}" for name, rate in rates.items())
    lines += [
        f"\n{report['images_per_second']:.2f} images/s (fresh and re-sampled), peak memory "
        f"{report['peak_memory_mib']:,.0f} MiB, started in {report['start_seconds']:.1f} s",
        f"rates of this device: {reached}, {bandwidth:,.1f} GB/s",
    ]
    if plain:
        lines.append(
            f"{report['ratio']:.2f} times as fast as the plain path, in turns, which takes "
            f"{plain['peak_memory_mib']:,.0f} MiB"
        )
    return "\n".join(lines)
