"""A process that does iterations of the training on request and says how long each phase took.

``python -m ...distillation.timing`` reads a JSON line with the settings, builds the networks and
answers with a JSON line; then it answers each line ``go`` by one iteration's times. The benchmark
starts one such process for each variant that it compares, so that each has its own allocator,
threads and peak of memory.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import nn

from ..allocator import keep_buffers
from ..files import SynthDistillError
from .floor import count_work, measure_ceilings
from .networks import assemble, create_fabric
from .options import Options
from .random_numbers import RandomNumbers
from .step import Distillation


class PhaseClock:
    """Add up the time of each phase; see :py:data:`~.step.Clock`.

    On CUDA, events are recorded on the stream and read when the iteration is over, so that the
    measurement does not make the device wait.

    Parameters
    ----------
    device
        Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.started = time.perf_counter()
        self.spans: list[tuple[str, Callable[[], float]]] = []

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time what is done under this context as a part of ``phase``."""
        if self.device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self.spans.append((phase, lambda: first.elapsed_time(last)))
        else:
            first_time = time.perf_counter()
            yield
            elapsed = 1e3 * (time.perf_counter() - first_time)
            self.spans.append((phase, lambda: elapsed))

    def restart(self) -> None:
        """Forget all and begin an iteration."""
        self.wait()
        self.spans.clear()
        self.started = time.perf_counter()

    def read(self) -> tuple[float, dict[str, float]]:
        """Give the iteration's milliseconds, and those of each phase."""
        self.wait()
        total = 1e3 * (time.perf_counter() - self.started)
        phases: dict[str, float] = {}
        for phase, milliseconds in self.spans:
            phases[phase] = phases.get(phase, 0.0) + milliseconds()
        return total, phases

    def wait(self) -> None:
        """Let the device finish."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def build_networks(options: Options) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Load generator and teacher, or make them of the published size with random weights.

    Returns
    -------
        Generator, teacher and student (always random).
    """
    from ..generators import load_generator
    from ..recognition.iresnet import LAYERS, IResNet
    from ..recognition.student import create_student
    from ..recognition.teacher import Teacher, load_teacher

    torch.manual_seed(options.seed)
    generator: nn.Module
    if options.generator is not None:
        generator = load_generator(options.generator)
    else:
        generator = random_generator()
    if options.teacher is not None:
        teacher = load_teacher(options.teacher)
    else:
        teacher = Teacher(IResNet(LAYERS["iresnet100"]))
    student = create_student(options.student, initialisation="random")
    return generator, teacher, student


def random_generator(**sizes: int) -> nn.Module:
    """Make a generator with random weights, with noise that counts, frozen.

    Parameters
    ----------
    **sizes
        Of :py:class:`~..generators.stylegan2.Generator`: by default the published ones.
    """
    from ..generators.stylegan2 import Generator

    generator = Generator(**sizes).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)
    return generator


class Timer:
    """Does iterations and times them.

    Parameters
    ----------
    options
        Of the training; generator and teacher None are random.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.fabric = create_fabric(options)
        self.clock = PhaseClock(self.fabric.device)
        networks = build_networks(options)
        half = options.precision in ("bf16", "16")
        self.work = count_work(*networks, options.batch_size, half=half)
        self.method: Distillation = assemble(options, self.fabric, *networks, clock=self.clock)
        self.iteration = 0

    def go(self) -> dict[str, Any]:
        """Do an iteration.

        Returns
        -------
            ``ms`` and ``phases``, of the iteration, and the peak of memory so far in MiB.
        """
        self.method.student.train()
        self.clock.restart()
        options = self.options
        draws = RandomNumbers(
            options.seed, "benchmark", self.iteration, options.batch_size, self.fabric.device
        )
        results = self.method.iteration(draws, range(options.batch_size))
        total, phases = self.clock.read()
        self.iteration += 1
        return {
            "ms": total,
            "phases": phases,
            "losses": [result.loss.item() for result in results],
            "peak_memory_mib": peak_memory(self.fabric.device),
        }

    def describe(self) -> dict[str, Any]:
        """Say what is being timed, and what its work is."""
        device = self.fabric.device
        is_cuda = device.type == "cuda"
        name = torch.cuda.get_device_name(device) if is_cuda else processor()
        return {
            "device": f"{device.type}: {name}",
            "images": 2 * self.options.batch_size,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "work": self.work,
        }


def processor() -> str:
    """Give the processor's name, as Linux knows it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{os.cpu_count()} cores"


def peak_memory(device: torch.device) -> float:
    """Give the peak of the device's memory, or of the process's on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes, but bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more: see the module's docstring."""
    settings = json.loads(requests.readline())
    if not settings.pop("plain_allocator", False):
        keep_buffers()
    try:
        timer = Timer(Options(**settings))
        _answer(answers, timer.describe())
        for line in requests:
            if line.strip() == "ceilings":
                _answer(answers, measure_ceilings(timer.fabric.device))
            else:
                _answer(answers, timer.go())
    except SynthDistillError as error:
        _answer(answers, {"error": error.message})


def _answer(answers: TextIO, values: dict[str, Any]) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


if __name__ == "__main__":
    # whatever a library prints goes to stderr: stdout is the benchmark's
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, channel)
