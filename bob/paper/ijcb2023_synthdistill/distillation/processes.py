"""Several processes that train one student: start together, agree, and end together."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed
from lightning_fabric import Fabric

from ..files import SynthDistillError

logger = logging.getLogger(__name__)

EXCHANGE_SECONDS = 2.0
"""How often processes exchange their wishes: it makes them, and a GPU, wait."""

WATCH_SECONDS = 1.0
"""How often a process looks whether the one that started it is still there."""


@contextlib.contextmanager
def launched(fabric: Fabric) -> Iterator[None]:
    """Start the other processes (Fabric runs the same command again for each), and end with them.

    Only the first process logs what is no warning. The death of one ends all: those that wait for
    it in a collective operation get an error, those on this node also watch their parent.
    """
    parent = os.getppid()
    fabric.launch()
    if not fabric.is_global_zero:
        logging.getLogger("bob.paper.ijcb2023_synthdistill").setLevel(logging.WARNING)
        threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise SynthDistillError(
            f"process {fabric.global_rank} of {fabric.world_size} lost the others: one of them "
            "ended, and its own message says why. What was saved is kept; the same command goes "
            "on from it."
        ) from error
    if fabric.world_size > 1:
        # nobody leaves while another may still wait for an answer of it
        fabric.barrier()
        torch.distributed.destroy_process_group()


def _end_with_parent(parent: int) -> None:
    """End this process when its parent has ended, which collective operations may not notice."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _is_lost_connection(error: RuntimeError) -> bool:
    if isinstance(error, torch.distributed.DistError):
        return True
    words = str(error).lower()
    return any(word in words for word in ("gloo", "nccl", "connection closed", "connection reset"))


class Agreement(NamedTuple):
    """What all processes do after an iteration.

    ``save`` a checkpoint; ``stop`` with this exit code unless it is 0; ``bad``: give up, for a
    loss of somebody's was not finite.
    """

    save: bool
    stop: int
    bad: bool


class Exchange:
    """Lets all processes decide the same after the same iteration, every few of them.

    One process on a CPU decides after each iteration. Several, or a GPU (which would have to be
    waited for), do it after as many as the first process does in ``EXCHANGE_SECONDS``.
    """

    def __init__(self, fabric: Fabric, iteration: int) -> None:
        self.fabric = fabric
        self.often = fabric.world_size == 1 and fabric.device.type == "cpu"
        self.last = self.next = iteration
        self.time = time.monotonic()

    def due(self, iteration: int) -> bool:
        """Tell whether an exchange is due: the same answer in all processes."""
        return self.often or iteration >= self.next

    def agree(self, iteration: int, *, save: bool = False, stop: int = 0, bad: bool) -> Agreement:
        """Exchange wishes: the first process's for saving, anybody's for stopping and giving up."""
        now, done = time.monotonic(), iteration - self.last
        # the first iterations are slow: do not let them, or a fast one, decide too much
        pace = done / max(now - self.time, 1e-6)
        pause = max(1, min(round(pace * EXCHANGE_SECONDS), 2 * done))
        first = self.fabric.is_global_zero
        wishes = [float(save and first), float(stop), float(bad), float(pause if first else 0)]
        wishes = self._largest(wishes)
        self.last, self.next, self.time = iteration, iteration + int(wishes[3]), now
        return Agreement(bool(wishes[0]), int(wishes[1]), bool(wishes[2]))

    def check_same(self, number: int, what: str) -> None:
        """Refuse to go on where processes have different numbers of something."""
        low, high = self._largest([-float(number), float(number)])
        if -low != high:
            raise SynthDistillError(
                f"process {self.fabric.global_rank} has {number} {what}, another has "
                f"{int(-low if high == number else high)}: the run folder must be the same one "
                "for all nodes, on a shared file system."
            )

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes."""
        return torch.as_tensor(self.fabric.all_reduce(values, reduce_op="sum"))

    def _largest(self, values: list[float]) -> list[float]:
        if self.fabric.world_size == 1:
            return values
        # float64 holds every iteration; MPS has none, but only one process either
        told = torch.tensor(values, dtype=torch.float64, device=self.fabric.device)
        return torch.as_tensor(self.fabric.all_reduce(told, reduce_op="max")).tolist()
