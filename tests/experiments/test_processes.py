import os
import signal
import sys
import threading
import time

import pytest
from reproduction.processes import FORWARDED, run_command

from bob.paper.ijcb2023_synthdistill.errors import SynthDistillError

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
    assert run_command([sys.executable, "-c", program, str(started)]) == 3
