"""Time the training's iteration by phase, in turns with the plain path, beside its roofline.

Each variant works in a process of its own, with its own allocator, threads and peak of memory; this
one only directs.
"""

import contextlib
import os
import signal
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from torch import nn
from torch.profiler import record_function
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from .. import faces, machine
from ..allocator import keep_buffers
from ..files import SynthDistillError
from .networks import assemble, create_fabric, create_student
from .options import Options
from .random_numbers import RandomNumbers
from .step import StepResult

PHASES = ("mapping", "synthesis", "crop", "teacher", "student forward", "backward", "optimizer")
"""The phases in the order of an iteration; its second step repeats all but the first."""

PATIENCE = 2.0
"""Seconds: an operation that would take longer is not measured."""


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
    plain = {**settings, "plain": True, "compile": False, "precision": "auto"}
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
    roofline = sum(about["floor_phases_ms"].values())
    report = {
        "variant": mine,
        "settings": {name: v if v is None else str(v) for name, v in settings.items()},
        "iterations": iterations,
        **about,
        **first,
        "floor_ms": roofline,
        "over_floor": first["ms"] / roofline,
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
            self.process.join()
            raise SynthDistillError(
                f"the {self.name} variant ended early, with {self.process.exitcode}: if nothing "
                "above says why, memory may have run out. Lower --batch-size."
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
        phases = [defaultdict(float, result["phases"]) for result in timed]
        milliseconds = statistics.median(result["ms"] for result in timed)
        return {
            "ms": milliseconds,
            "all_ms": [round(result["ms"], 1) for result in timed],
            "images_per_second": 1e3 * images / milliseconds,
            "phases_ms": {name: statistics.median(p[name] for p in phases) for name in PHASES},
            "peak_memory_mib": timed[-1]["peak_memory_mib"],
            "start_seconds": self.start_seconds,
            "losses": timed[0]["losses"],
        }


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
        if options.generator:
            generator = load_generator(options.generator)
        else:
            generator = Generator(num_fp16_res=4)
        if options.teacher:
            teacher = load_teacher(options.teacher)
        else:
            teacher = Teacher(IResNet(LAYERS["iresnet100"]))
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
        """Count an iteration's work, and measure what the device can do.

        Returns
        -------
            ``work`` has the ``flops`` of each phase, in all and by precision, and its ``bytes``;
            ``ceilings`` FLOP/s in each precision, and ``bytes`` a second.
        """
        with count_flops(self.marks) as counted, torch.compiler.set_stance("force_eager"):
            self.go()
        # torch's count is wrong for the backward pass of grouped convolutions: it is twice forward
        forward = counted["student forward"]
        counted["backward"] = Counter({name: 2 * flops for name, flops in forward.items()})
        moved = self._bytes()
        work = {
            phase: {
                "flops": float(counted[phase].total()),
                "precisions": dict(counted[phase]),
                "bytes": moved[phase],
            }
            for phase in PHASES
        }
        used = {name for flops in counted.values() for name in flops}
        ceilings = measure_ceilings(self.device, used | {"float32", "bfloat16"})
        floor = roofline_ms(work, ceilings)
        return {"work": work, "ceilings": ceilings, "floor_phases_ms": floor}

    def _bytes(self) -> dict[str, float]:
        """Give the bytes that cannot be spared: weights, read once a step, and images."""
        mapping, synthesis, teacher, student = (4.0 * number for number in self.weights)
        half = 2 if self.options.precision in ("bf16", "16") else 1
        _, _, side = faces.crop_box(self.method.generator.resolution)
        image, face = (12.0 * self.options.batch_size * s**2 for s in (side, faces.FACE_SIZE))
        return {
            "mapping": mapping,
            "synthesis": 2 * (synthesis / half + image),
            "crop": 2 * (image + face),
            "teacher": 2 * (teacher / half + face),
            "student forward": 2 * (student + face),
            # reads the weights, writes their gradients
            "backward": 2 * 2 * student,
            # Adam reads weight, gradient and two moments, and writes three of them
            "optimizer": 2 * 7 * student,
        }


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


@contextlib.contextmanager
def count_flops(marks: Marks) -> Iterator[dict[str, Counter[str]]]:
    """Count FLOPs (two for a multiply-add) by phase, and by the precision they are done in."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)

    def by_precision(operation: Any, count: Callable[..., int]) -> Callable[..., int]:
        def counting(*arguments: Any, out_val: Any, **keywords: Any) -> int:
            flops = count(*arguments, out_val=out_val, **keywords)
            if isinstance(out_val, torch.Tensor):
                counted[marks.phase][precision_of(operation, out_val)] += flops
            return flops

        counting._get_raw = True  # type: ignore[attr-defined]  # tensors, not their shapes
        return counting

    counts = {operation: by_precision(operation, c) for operation, c in flop_registry.items()}
    with FlopCounterMode(display=False, custom_mapping=counts):
        yield counted


def precision_of(operation: Any, result: torch.Tensor) -> str:
    """Name the precision in which an operation multiplies."""
    if result.dtype == torch.float32 and result.device.type == "cuda":
        convolution = "conv" in str(operation)
        kind = torch.backends.cudnn.conv if convolution else torch.backends.cuda.matmul  # type: ignore[attr-defined]
        return "tensorfloat32" if kind.fp32_precision == "tf32" else "float32"
    return str(result.dtype).removeprefix("torch.")


def roofline_ms(work: Mapping[str, Any], ceilings: Mapping[str, float]) -> dict[str, float]:
    """Give the milliseconds that each phase takes at the device's rates: the slower of the two."""
    return {
        phase: 1e3
        * max(
            sum(flops / ceilings[name] for name, flops in amount["precisions"].items()),
            amount["bytes"] / ceilings["bytes"],
        )
        for phase, amount in work.items()
    }


def measure_ceilings(device: torch.device, precisions: Iterable[str]) -> dict[str, float]:
    """Measure FLOP/s in each precision, and bytes/s of a copy (read and written both count)."""
    found = {name: _best_rate(_operations(device, name), device) for name in sorted(precisions)}
    source = torch.ones(2**30 if device.type == "cuda" else 2**26, device=device)
    copy = partial(torch.empty_like(source).copy_, source)
    return found | {"bytes": _best_rate([(copy, 2 * source.nbytes)], device)}


def _operations(device: torch.device, precision: str) -> Iterator[tuple[Callable[[], Any], int]]:
    """Give products, and a convolution of 3x3 over 512 channels, each with its FLOPs.

    Libraries differ: on some processors MKL's product is slow and oneDNN's convolution is fast.
    """
    tf32, large = precision == "tensorfloat32", device.type == "cuda"
    kind = torch.float32 if tf32 else getattr(torch, precision)
    for settings in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):  # type: ignore[attr-defined]
        settings.fp32_precision = "tf32" if tf32 else "ieee"
    for size in (8192,) if large else (1024, 2048):
        left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        yield partial(torch.mm, left, right), 2 * size**3
    batch, side = (32, 64) if large else (4, 32)
    image = torch.randn(batch, 512, side, side, device=device).to(kind)
    image = image.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 3, 3, device=device).to(kind)
    convolve = partial(nn.functional.conv2d, image, weight, padding=1)
    yield convolve, 2 * 9 * 512**2 * batch * side**2


@torch.no_grad()
def _best_rate(operations: Iterable[tuple[Callable[[], Any], int]], device: torch.device) -> float:
    """Give the largest amount a second.

    A processor without instructions for bfloat16 multiplies its matrices hundreds of times slower:
    what would take it long is left out.
    """
    best = 0.0
    for action, amount in operations:
        if best and amount / best > PATIENCE:
            continue
        times: list[float] = []
        while len(times) < 6 and sum(times) < PATIENCE:
            synchronise(device)
            started = time.perf_counter()
            action()
            synchronise(device)
            times.append(time.perf_counter() - started)
        best = max(best, amount / min(times))
    return best


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def peak_memory(device: torch.device) -> float:
    """Give the peak of the device's memory, or of the process's on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    # kilobytes, but bytes on macOS
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def format_table(report: Mapping[str, Any]) -> str:
    """Lay a report out: each phase's time, share, images/s if it were alone, and roofline."""
    settings, plain = report["settings"], report.get("plain")
    head = f"{'phase':16}{'ms':>10}{'share %':>9}{'images/s':>11}{'roofline ms':>13}{'over':>8}"
    lines = [
        f"{report['device']}, {report['threads']} threads, torch {report['torch']}",
        f"{report['variant']}, precision {settings['precision']}, batch {settings['batch_size']}, "
        f"student {settings['student']}, generator {settings['generator'] or 'random'}, "
        f"teacher {settings['teacher'] or 'random'}; medians of {report['iterations']} iterations",
        f"\n{head}" + (f"{'plain ms':>11}{'ratio':>8}" if plain else ""),
    ]
    total, roofline = report["ms"], report["floor_phases_ms"] | {"iteration": report["floor_ms"]}
    phases = dict(report["phases_ms"])
    phases |= {"the rest": max(total - sum(phases.values()), 0.0), "iteration": total}
    for name, ms in phases.items():
        line = f"{name:16}{ms:10.1f}{100 * ms / total:9.1f}"
        line += f"{1e3 * report['images'] / ms:11.2f}" if ms else ""
        if ms and name in roofline:
            line += f"{roofline[name]:13.2f}{ms / roofline[name]:8.2f}"
            if plain:
                other = (plain["phases_ms"] | {"iteration": plain["ms"]})[name]
                line += f"{other:11.1f}{other / ms:8.2f}"
        lines.append(line)
    rates = {name: rate / 1e9 for name, rate in report["ceilings"].items()}
    bandwidth = rates.pop("bytes")
    lines += [
        f"\n{report['images_per_second']:.2f} images/s (fresh and re-sampled), peak memory "
        f"{report['peak_memory_mib']:,.0f} MiB"
        + (f" (plain {plain['peak_memory_mib']:,.0f} MiB)" if plain else "")
        + f", started in {report['start_seconds']:.1f} s",
        "rates of this device: "
        + ", ".join(f"{rate:,.0f} GFLOP/s {name}" for name, rate in rates.items())
        + f", {bandwidth:,.1f} GB/s",
    ]
    if plain:
        lines.append(f"{report['ratio']:.2f} times as fast as the plain path, in turns")
    return "\n".join(lines)
