"""The allocator's setting, in processes of their own."""

import os
import platform
import subprocess
import sys

import pytest

CODE = "from bob.paper.ijcb2023_synthdistill.allocator import keep_buffers; print(keep_buffers())"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
@pytest.mark.parametrize(("allocator", "said"), [("", "True\n"), ("system", "False\n")])
def test_freed_buffers_are_kept_unless_switched_off(allocator, said):
    environment = {**os.environ, "SYNTHDISTILL_ALLOCATOR": allocator}
    command = [sys.executable, "-c", CODE]
    assert subprocess.check_output(command, env=environment, text=True) == said
