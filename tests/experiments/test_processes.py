import os
import signal
import sys
import threading
import time

import pytest
from reproduction.processes import (
    FORWARDED,
    Job,
    run_command,
    run_side_by_side,
    threads_of_each,
)

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

GENTLE = """
import signal, sys, time, pathlib
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda n, f: sys.exit(50 + n))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_the_exit_status_is_given():
    assert run_command([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert run_command([sys.executable, "-c", ""]) == 0


def test_a_command_that_is_not_there():
    with pytest.raises(SynthDistillError, match="cannot run no-such-command"):
        run_command(["no-such-command"])


@pytest.mark.parametrize("number", FORWARDED)
def test_signals_are_handed_on(tmp_path, number):
    started = tmp_path / "started"

    def send():
        while not started.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=send).start()
    assert run_command([sys.executable, "-c", GENTLE, str(started)]) == 50 + number
    assert signal.getsignal(number) is before


def test_ctrl_c_waits_for_the_command(tmp_path):
    """The terminal interrupts both of us: the command is left to save and to end by itself."""
    started = tmp_path / "started"
    program = (
        "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch(); time.sleep(0.5); sys.exit(3)"
    )

    def send():
        while not started.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send).start()
    start = time.monotonic()
    # it ended with 3, which after Ctrl-C is no failure of its own
    assert run_command([sys.executable, "-c", program, str(started)]) == 130
    assert time.monotonic() - start > 0.4


class Watcher:
    """Notes what began and ended, and how many ran at a time."""

    def __init__(self):
        self.begun, self.ended, self.said, self.most = [], {}, [], 0

    def run(self, jobs, at_a_time):
        return run_side_by_side(
            jobs, at_a_time, begun=self.begin, ended=self.end, said=self.say, waiting=self.wait
        )

    def begin(self, job):
        self.begun.append(job.name)

    def end(self, job, status, seconds):
        assert seconds > 0
        self.ended[job.name] = status

    def say(self, job, line):
        assert job.name not in self.ended
        self.said.append((job.name, line))

    def wait(self, running):
        self.most = max(self.most, len(running))


def _job(folder, name, program):
    return Job(name, [sys.executable, "-c", program, str(folder)], folder / "logs" / f"{name}.log")


def test_side_by_side_each_has_its_threads_and_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    program = (
        "import os, sys, time; print(os.environ['OMP_NUM_THREADS']); "
        "print('words', file=sys.stderr); time.sleep(0.5); sys.exit({})"
    )
    watcher = Watcher()
    jobs = [_job(tmp_path, name, program.format(7 * (name == "b"))) for name in "abc"]
    assert watcher.run(jobs, 2) == []
    assert watcher.begun == ["a", "b", "c"]
    assert watcher.ended == {"a": 0, "b": 7, "c": 0}
    assert watcher.most == 2
    for name in "abc":
        log = (tmp_path / "logs" / f"{name}.log").read_text()
        assert sorted(log.split()) == ["3", "words"]


def test_what_they_say_is_handed_on_by_lines(tmp_path):
    program = (
        "import sys, time; sys.stdout.write('one\\ntw'); sys.stdout.flush(); time.sleep(0.5); "
        "sys.stdout.buffer.write(b'o\\n\\xff\\nand the rest')"
    )
    job = _job(tmp_path, "a", program)
    for _ in range(2):  # the second time the log begins with what was said the first
        watcher = Watcher()
        assert watcher.run([job], 1) == []
        said = [line for _, line in watcher.said]
        assert said == ["one", "two", "\N{REPLACEMENT CHARACTER}", "and the rest"]
    assert job.log.read_bytes().count(b"one") == 2


def test_cores_are_divided(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(5)))
    assert [threads_of_each(jobs) for jobs in (1, 2, 4, 9)] == [5, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [threads_of_each(jobs) for jobs in (1, 2)] == [2, 1]


SAVES = """
import signal, sys, time, pathlib
signal.signal(signal.SIGTERM, lambda n, f: sys.exit(99))
signal.signal(signal.SIGUSR1, lambda n, f: sys.exit(99))
pathlib.Path(sys.argv[1], "{}").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("number", [*FORWARDED, signal.SIGINT])
def test_all_are_stopped_together_and_no_more_begun(tmp_path, number):
    def send():
        while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    watcher = Watcher()
    threading.Thread(target=send).start()
    left = watcher.run([_job(tmp_path, name, SAVES.format(name)) for name in "abc"], 2)
    assert sorted(job.name for job in left) == ["a", "b", "c"]
    assert watcher.ended == {"a": 130, "b": 130}
    assert signal.getsignal(number) is before


def test_one_that_is_killed_stops_the_others(tmp_path):
    watcher = Watcher()
    killed = (
        "import os, pathlib, signal, sys, time\n"
        "while not pathlib.Path(sys.argv[1], 'b').exists(): time.sleep(0.02)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    jobs = [_job(tmp_path, "a", killed), _job(tmp_path, "b", SAVES.format("b"))]
    assert sorted(job.name for job in watcher.run(jobs, 2)) == ["a", "b"]
    assert watcher.ended == {"a": -9, "b": 130}


def test_a_command_that_cannot_be_started_ends_those_that_run(tmp_path):
    watcher = Watcher()
    jobs = [_job(tmp_path, "a", SAVES.format("a")), Job("b", ["no-such-command"], tmp_path / "b")]
    with pytest.raises(SynthDistillError, match="cannot run no-such-command"):
        watcher.run(jobs, 2)
