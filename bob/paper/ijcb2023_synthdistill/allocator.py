"""The C library's allocator: keep the big buffers of one training step for the next.

By default glibc asks the system for each buffer above 32 MiB and gives it back when it is freed, so
that every activation of every step is made of new pages, which the system clears one by one: 1.7
million page faults an iteration of the paper's networks, and up to half of its time on a CPU.
"""

import ctypes
import os
import platform

# from malloc.h (parameter, value): no buffer of its own mapping, no trimming, growth by 64 MiB
_SETTINGS = ((-4, 0), (-1, 2**31 - 1), (-2, 64 * 2**20))


def keep_buffers() -> bool:
    """Let glibc keep freed buffers for the process instead of giving each back to the system.

    It works on what is allocated afterwards: call it before tensors are made. The process's memory
    does not shrink any more until it ends; its peak is about the same. Says whether it was done:
    not where the C library is another (macOS, Windows, musl), nor where the environment variable
    ``SYNTHDISTILL_ALLOCATOR`` is ``system``.
    """
    if os.environ.get("SYNTHDISTILL_ALLOCATOR") == "system" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return [mallopt(*setting) for setting in _SETTINGS] == [1, 1, 1]
