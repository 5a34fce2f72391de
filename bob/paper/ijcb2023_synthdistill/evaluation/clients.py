"""Dask clients that Bob hands over: what is computed by them, and how they end."""

import atexit
import contextlib
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

from dask.delayed import Delayed
from distributed import Client, KilledWorker, Worker, WorkerPlugin

from ..files import SynthDistillError
from . import progress


class DelayedScores(Delayed):
    """Parts of a score file that Bob lets dask compute; ``finish`` makes one file of them here.

    If that cannot be, ``end`` is called.
    """

    __slots__ = ("end", "finish")

    def __init__(self, parts: Delayed, finish: Callable, end: Callable) -> None:
        super().__init__(parts.key, parts.dask)
        self.finish, self.end = finish, end

    def compute(self, **options: Any) -> Any:
        """Compute the parts, and finish."""
        try:
            if isinstance(client := options.get("scheduler"), Client):
                client.register_plugin(QuietWorker())
                progress.listen(client)
            parts = super().compute(**options)
        except KilledWorker as error:
            self.end()
            raise SynthDistillError(
                f"workers died while they embedded images, {error.args[0]} at last. Was there too "
                "little memory? Take fewer workers, or smaller partitions with -s."
            ) from error
        except BaseException:
            self.end()
            raise
        return self.finish(parts)


class QuietWorker(WorkerPlugin):
    """Lets workers leave it to the process that asked to say what went wrong, and end at once."""

    name = "synthdistill-quiet"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Prepare a worker, in its main thread: what Bob imports cannot be imported in others."""
        logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
        # taking torch apart lasts seconds, after which the nanny would kill the worker
        atexit.register(os._exit, 0)


@functools.cache
def close_at_exit(client: Client) -> None:
    """See to it that dask ends in order, without a word, when all is said."""

    def close() -> None:
        logging.disable(logging.CRITICAL)
        with contextlib.suppress(Exception):
            client.close()
            if client.cluster is not None:
                client.cluster.close()

    atexit.register(close)
