"""The allocator's setting, in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource
from bob.paper.ijcb2023_synthdistill.allocator import keep_buffers
print(keep_buffers())
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
# the first one finds its place in the heap
faults(1)
print(faults(10))
"""


def run(environment):
    output = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return output[0] == "True", int(output[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_buffers_are_kept_unless_switched_off():
    done, faults = run({})
    assert done
    left, faults_without = run({"SYNTHDISTILL_ALLOCATOR": "system"})
    assert not left
    # ten times 64 MiB: a page fault for each 4 KiB or, with huge pages, 2 MiB
    assert faults_without > 250
    assert faults < faults_without / 4
