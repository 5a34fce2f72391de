"""The whole iteration as one CUDA graph: thousands of launches become one."""

from collections.abc import Callable
from typing import Any

import torch

from ..files import SynthDistillError
from .random_numbers import Noise, RandomNumbers, cut
from .step import Distillation, StepResult

EAGER = 3
"""Iterations before the capture: libraries choose algorithms, the optimizer makes its state."""


class GraphedIteration:
    """Stands in the place of a method's iteration: captured once, replayed with other numbers.

    The random numbers are drawn outside of the graph, into tensors that it reads. Each call is one
    iteration; what it gives is overwritten by the next.
    """

    def __init__(self, method: Distillation) -> None:
        self.method = method
        self.eager = method.iteration
        self.numbers = FixedNumbers()
        self.calls = 0

    def __call__(self, numbers: RandomNumbers, rows: range) -> tuple[StepResult, StepResult]:
        """Do an iteration, like :py:meth:`~.step.Distillation.iteration`."""
        self.numbers.fill(numbers)
        self.calls += 1
        if self.calls <= EAGER:
            return self.warm_up(rows)
        if self.calls == EAGER + 1:
            self.replay = self.capture(rows)
        self.replay()
        return self.results

    def warm_up(self, rows: range) -> tuple[StepResult, StepResult]:
        """Do an iteration on a stream of its own, as torch's manual asks before a capture."""
        if self.calls == 1:
            make_capturable(self.method.optimizer, self.method.fabric.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results = self.eager(self.numbers, rows)
        torch.cuda.current_stream().wait_stream(stream)
        return results

    def capture(self, rows: range) -> Callable[[], None]:
        """Record an iteration, which is not done yet; give what does it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.results = self.eager(self.numbers, rows)
        return graph.replay


def make_capturable(optimizer: Any, device: torch.device) -> None:
    """Put on the device what an optimizer reads on the host: steps and learning rates."""
    for group in optimizer.param_groups:
        if "capturable" not in group:
            raise SynthDistillError(
                "--graph needs an optimizer with the parameter `capturable`, such as Adam"
            )
        group["capturable"] = True
        # schedules change a tensor in place
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
    for state in optimizer.state.values():
        state["step"] = state["step"].to(device)


class FixedNumbers(RandomNumbers):
    """Those of an iteration, always in the same tensors."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Any, ...], torch.Tensor] = {}

    def fill(self, numbers: RandomNumbers) -> None:
        """Draw again what the iterations before asked for."""
        self.source = numbers
        for (draw, *arguments), tensor in self.kept.items():
            tensor.copy_(getattr(numbers, draw)(*arguments), non_blocking=True)

    def _keep(self, *key: Any) -> torch.Tensor:
        if key not in self.kept:
            self.kept[key] = getattr(self.source, key[0])(*key[1:]).clone()
        return self.kept[key]

    def normal(self, name: str, width: int, rows: range) -> torch.Tensor:  # noqa: D102
        return self._keep("normal", name, width, rows)

    def uniform(self, name: str, width: int, rows: range) -> torch.Tensor:  # noqa: D102
        return self._keep("uniform", name, width, rows)

    def noise_values(self, name: str, pixels: int, rows: range) -> torch.Tensor:  # noqa: D102
        return self._keep("noise_values", name, pixels, rows)

    def noise(self, name: str, rows: range, pixels: int = 0) -> Noise:  # noqa: D102
        if not pixels:
            raise SynthDistillError("--graph needs a generator that tells its `noise_pixels`")
        return cut(self.noise_values(name, pixels, rows))
