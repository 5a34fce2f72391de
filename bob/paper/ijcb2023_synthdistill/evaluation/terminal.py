"""How our commands end: with 130 after Ctrl-C, in words when what they print cannot be written."""

import os
import signal
import sys
import threading
from typing import Any, NoReturn

import click

from ..files import SynthDistillError, printable

INTERRUPTED = 128 + signal.SIGINT

PATIENCE = 20.0
"""Seconds that an interrupted process may take to tidy up. A thread that was being started when the
signal came is known to nobody, and Python would wait for it for ever."""


def exit_when_interrupted() -> None:
    """Let Ctrl-C end this process with 130 (click: 1; dask_jobqueue, by Bob: 0), twice at once."""

    def interrupt(*_: Any) -> NoReturn:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        last = threading.Timer(PATIENCE, os._exit, [INTERRUPTED])
        last.daemon = True
        last.start()
        sys.exit(INTERRUPTED)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)


def say(text: str) -> None:
    """Print to the standard output, which may be a file on a full disk."""
    try:
        click.echo(printable(text))
    except BrokenPipeError:  # click knows what to do
        raise
    except OSError as error:
        raise SynthDistillError(f"cannot write what is printed: {error.strerror}.") from error
