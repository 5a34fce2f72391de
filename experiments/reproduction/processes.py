"""Run commands, one or several at a time, so that what stops us stops them gently."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from bob.paper.ijcb2023_synthdistill.distillation.stopping import INTERRUPTED, REQUEUE
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

FORWARDED = (signal.SIGTERM, signal.SIGUSR1)

POLL_SECONDS = 0.2
"""How often commands that run side by side are asked whether they have ended."""


def run_command(words: list[str]) -> int:
    """Run a command to its end and give its exit status; 130 where Ctrl-C ended it somehow.

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
    interrupted = False

    def note() -> None:
        nonlocal interrupted
        interrupted = True

    process = _start(words)
    # a handler of our own for Ctrl-C: dask_jobqueue's, set when it is imported, would end us
    with _handlers(process.send_signal, note):
        status = process.wait()
    return INTERRUPTED if interrupted and status else status


def was_stopped(status: int) -> bool:
    """Say whether a training was asked to stop, or killed, rather than failed."""
    # negative: killed before it could save and say so
    return status in (REQUEUE, INTERRUPTED) or status < 0


@dataclass(frozen=True)
class Job:
    """A command to run beside others.

    Parameters
    ----------
    name
        What it is.
    words
        The command; no shell is involved.
    log
        The file to which its output is appended.
    """

    name: str
    words: Sequence[str]
    log: Path


def threads_of_each(jobs: int) -> int:
    """Divide the cores, or as many as ``OMP_NUM_THREADS`` allows, among commands side by side."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(given) if given.isdecimal() else len(os.sched_getaffinity(0))
    return max(1, cores // jobs)


def run_side_by_side(
    jobs: Sequence[Job],
    at_a_time: int,
    *,
    begun: Callable[[Job], None],
    ended: Callable[[Job, int, float], None],
    said: Callable[[Job, str], None] = lambda job, line: None,  # noqa: ARG005
    waiting: Callable[[Sequence[Job]], None] = lambda running: None,  # noqa: ARG005
) -> list[Job]:
    """Run commands, several at a time, each with its share of the cores and its output in a file.

    One that fails does not hinder the others. When we are asked to stop (Ctrl-C, SIGTERM, SIGUSR1),
    or one of them was stopped, the others are asked to stop as well, and no more are started.

    Parameters
    ----------
    jobs
        The commands.
    at_a_time
        How many run at a time.
    begun
        Called with each command before it is started.
    ended
        Called with each command that has ended, its exit status and its seconds.
    said
        Called with each line that a command wrote to its log.
    waiting
        Called again and again with those that run.

    Returns
    -------
        Those that were not started, or were stopped: none when all came to their own end.

    Raises
    ------
    SynthDistillError
        One cannot be started, or its log not be written.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads_of_each(at_a_time))}
    to_do = list(jobs)
    running: list[_Running] = []
    left: list[Job] = []
    stopping = False

    def stop(number: int = signal.SIGTERM) -> None:
        nonlocal stopping
        stopping = True
        for entry in running:
            entry.process.send_signal(number)

    # after Ctrl-C, too: whoever got it from the terminal is stopping anyway
    with _handlers(stop, stop):
        try:
            while running or (to_do and not stopping):
                while to_do and len(running) < at_a_time and not stopping:
                    job = to_do.pop(0)
                    begun(job)
                    with _log(job) as log:
                        follower = _Follower(job.log)
                        process = _start(job.words, log, environment)
                    running.append(_Running(job, process, time.monotonic(), follower))
                    if stopping:  # asked between its start and its entry in the list
                        process.send_signal(signal.SIGTERM)
                time.sleep(POLL_SECONDS)
                for entry in list(running):
                    job = entry.job
                    # in this order: when it has ended, nothing is added to its log
                    status = entry.process.poll()
                    for line in entry.log.lines(to_the_end=status is not None):
                        said(job, line)
                    if status is None:
                        continue
                    running.remove(entry)
                    if stopping and status:  # whatever it ends with: it had been asked to stop
                        status = INTERRUPTED
                    ended(job, status, time.monotonic() - entry.start)
                    if was_stopped(status):
                        left.append(job)
                        if not stopping:
                            stop()
                waiting([entry.job for entry in running])
        except BaseException:
            stop()
            for entry in running:
                entry.process.wait()
            raise
    return left + to_do


class _Follower:
    """Reads what is appended to a file from now on, by lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size

    def lines(self, *, to_the_end: bool) -> Iterator[str]:
        """Give the lines that have become whole since the last time, or all that is left."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                text = stream.read()
        except OSError:  # somebody removed it
            return
        whole = text if to_the_end else text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        yield from whole.decode(errors="replace").splitlines()


@dataclass(frozen=True)
class _Running:
    """A command that runs: its process, when it was started, and what it says."""

    job: Job
    process: subprocess.Popen
    start: float
    log: _Follower


@contextlib.contextmanager
def _log(job: Job) -> Iterator[IO[bytes]]:
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        stream = job.log.open("ab")
    except OSError as error:
        raise SynthDistillError(f"cannot write the log {job.log}: {error.strerror}") from error
    with stream:
        yield stream


def _start(
    words: Sequence[str], log: IO[bytes] | None = None, environment: dict[str, str] | None = None
) -> subprocess.Popen:
    try:
        # the user's own command line: see --submit
        return subprocess.Popen(  # noqa: S603
            words,
            stdin=None if log is None else subprocess.DEVNULL,
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
            env=environment,
        )
    except OSError as error:
        raise SynthDistillError(f"cannot run {words[0]}: {error.strerror}") from error


@contextlib.contextmanager
def _handlers(hand_on: Callable[[int], None], interrupted: Callable[[], None]) -> Iterator[None]:
    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        hand_on(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: interrupted())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
