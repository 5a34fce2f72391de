"""Several processes that train one student: start together, agree, and end together."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

import torch
import torch.distributed
from lightning_fabric import Fabric

from ..files import SynthDistillError

logger = logging.getLogger(__name__)

AGREE_SECONDS = 2.0
"""How often processes agree whether to save or stop: it makes them wait for one another."""

WATCH_SECONDS = 1.0
"""How often a process looks whether the one that started it is still there."""


@contextlib.contextmanager
def launched(fabric: Fabric) -> Iterator[None]:
    """Start the other processes (Fabric runs the same command again for each), and end with them.

    Only the first process logs what is no warning. The death of one ends all: those that wait for
    it in a collective operation get an error, those on this node also watch their parent.

    Raises
    ------
    SynthDistillError
        Another process ended before this one.
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


class Agreement:
    """Lets all processes decide the same at the same iteration.

    Parameters
    ----------
    fabric
        Launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.iteration = self.next = 0
        self.time = time.monotonic()

    def decide(self, iteration: int, save: bool, stop: int) -> tuple[bool, int]:
        """Decide whether to save and whether to stop, after an iteration.

        By itself one process decides at once. Several do it every few iterations, as many as the
        first one does in ``AGREE_SECONDS``.

        Parameters
        ----------
        iteration
            The same number on all processes.
        save
            Whether this process wishes to save; the first one's wish counts.
        stop
            The exit code with which this process was asked to stop, or 0; anybody's counts.

        Returns
        -------
            Whether to save, and the exit code with which to stop, or 0.
        """
        if self.fabric.world_size == 1:
            return save, stop
        if iteration < self.next:
            return False, 0
        first = self.fabric.is_global_zero
        pause = 0
        if first:
            done, now = iteration - self.iteration, time.monotonic()
            pace = done / max(now - self.time, 1e-6)
            # the first iterations are slow: do not let them, or a fast one, decide too much
            pause = max(1, min(round(pace * AGREE_SECONDS), 2 * done))
            self.time = now
        wishes = self._maximum([float(save and first), float(stop), float(pause)])
        self.iteration, self.next = iteration, iteration + int(wishes[2])
        return bool(wishes[0]), int(wishes[1])

    def largest(self, number: int) -> int:
        """Give the largest of the processes' numbers."""
        return number if self.fabric.world_size == 1 else int(self._maximum([float(number)])[0])

    def smallest(self, number: int) -> int:
        """Give the smallest of the processes' numbers."""
        return -self.largest(-number)

    def check_same(self, number: int, what: str) -> None:
        """Refuse to go on where processes have different numbers.

        Raises
        ------
        SynthDistillError
            They do; the message says of what.
        """
        if self.fabric.world_size == 1:
            return
        low, high = self._maximum([-float(number), float(number)])
        if -low != high:
            raise SynthDistillError(
                f"process {self.fabric.global_rank} has {number} {what}, another has "
                f"{int(-low if high == number else high)}: the run folder must be the same one "
                "for all nodes, on a shared file system."
            )

    def _maximum(self, values: list[float]) -> list[float]:
        # float64 holds every iteration; MPS has none, but only one process either
        told = torch.tensor(values, dtype=torch.float64, device=self.fabric.device)
        return torch.as_tensor(self.fabric.all_reduce(told, reduce_op="max")).tolist()
