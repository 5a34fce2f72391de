"""Stopping on request: finish the step, save, and leave with a code that schedulers know."""

import contextlib
import signal
from collections.abc import Iterator

REQUEUE = 99
"""Exit code after all of these but Ctrl-C: SGE runs a job that ends with 99 again."""

INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT), as shells have it."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
"""What asks for a stop: SIGTERM comes from Slurm before it kills; SIGUSR1 where its ``--signal``
says so, and from SGE at its soft limit; SIGUSR2 from SGE's ``-notify`` before it kills."""


class Stop:
    """Whether somebody asked the run to stop: ``code`` is the exit code then, else None."""

    def __init__(self) -> None:
        self.code: int | None = None

    @contextlib.contextmanager
    def listen(self) -> Iterator["Stop"]:
        """Note SIGTERM, SIGUSR1, SIGUSR2 and the first Ctrl-C; a second Ctrl-C stops at once."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:  # noqa: ARG002
        if number != signal.SIGINT:
            self.code = REQUEUE
        elif self.code is None:
            self.code = INTERRUPTED
        else:
            raise KeyboardInterrupt
