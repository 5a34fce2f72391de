"""Run a command so that what stops us stops it gently."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from types import FrameType

from bob.paper.ijcb2023_synthdistill.errors import SynthDistillError

FORWARDED = (signal.SIGTERM, signal.SIGUSR1)


def run_command(words: list[str]) -> int:
    """Run a command to its end and give its exit status.

    A training that is interrupted finishes its step and saves. So Ctrl-C, which the terminal sends
    to both of us, does not end our waiting, and what a scheduler sends us is handed on.

    Parameters
    ----------
    words
        The command; no shell is involved.

    Raises
    ------
    SynthDistillError
        It cannot be started.
    """
    try:
        # the user's own command line: see --submit
        process = subprocess.Popen(words)  # noqa: S603
    except OSError as error:
        raise SynthDistillError(f"cannot run {words[0]}: {error.strerror}") from error
    with _hand_on(process):
        return process.wait()


@contextlib.contextmanager
def _hand_on(process: subprocess.Popen) -> Iterator[None]:
    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in FORWARDED}
    # a handler of our own: dask_jobqueue's, set when it is imported, would end this process
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
