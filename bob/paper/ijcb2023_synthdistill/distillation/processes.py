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

EXCHANGE_SECONDS = 2.0
"""How often processes exchange their wishes: it makes them, and a GPU, wait."""


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
        words = str(error).lower()
        lost = any(word in words for word in ("gloo", "nccl", "connection closed", "reset by peer"))
        if not lost and not isinstance(error, torch.distributed.DistError):
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
        time.sleep(1)
    os._exit(1)


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
        low, high = self._largest(-iteration, iteration)
        if -low != high:
            raise SynthDistillError(
                f"processes hold checkpoints of {-low:.0f} and of {high:.0f} iterations: the run "
                "folder must be the same one for all nodes, on a shared file system."
            )

    def due(self, iteration: int) -> bool:
        """Tell whether an exchange is due: the same answer in all processes."""
        return self.often or iteration >= self.next

    def agree(self, iteration: int, save: bool, stop: int, bad: bool) -> tuple[bool, int, bool]:
        """Decide together whether to save, with what code to stop (0: do not), and to give up.

        The first process's wish to save counts, and anybody's to stop or to give up.
        """
        now, done = time.monotonic(), iteration - self.last
        # the first iterations are slow: do not let them, or a fast one, decide too much
        pace = done / max(now - self.time, 1e-6)
        pause = max(1, min(round(pace * EXCHANGE_SECONDS), 2 * done))
        first = self.fabric.is_global_zero
        found = self._largest(save and first, stop, bad, pause if first else 0)
        self.last, self.next, self.time = iteration, iteration + int(found[3]), now
        return bool(found[0]), int(found[1]), bool(found[2])

    def _largest(self, *values: float) -> list[float]:
        if self.fabric.world_size == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float64, device=self.fabric.device)
        return torch.as_tensor(self.fabric.all_reduce(told, reduce_op="max")).tolist()
