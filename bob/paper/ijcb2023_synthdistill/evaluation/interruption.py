"""Ctrl-C ends with 130, as shells have it."""

import os
import signal
import sys
import threading
from typing import Any, NoReturn

INTERRUPTED = 128 + signal.SIGINT


def exit_when_interrupted() -> None:
    """Let Ctrl-C end this process with 130, and a second one at once.

    click makes it 1, and dask_jobqueue, which Bob imports, 0.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _exit)


def _exit(*_: Any) -> NoReturn:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    sys.exit(INTERRUPTED)
