"""The C library's allocator: keep the big buffers of one training step for the next.

By default glibc asks the system for each buffer above 32 MiB and gives it back when it is freed, so
that every activation of every step is made of new pages, which the system clears one by one: 1.7
million page faults an iteration of the paper's networks, and up to half of its time on a CPU.
"""

import ctypes
import logging
import os
import platform

logger = logging.getLogger(__name__)

VARIABLE = "SYNTHDISTILL_ALLOCATOR"
"""Environment variable: ``system`` leaves the allocator as it is."""

# from malloc.h: parameter, value
_TOP_PAD = (-2, 64 * 2**20)
_TRIM_THRESHOLD = (-1, 2**31 - 1)
_MMAP_MAX = (-4, 0)


def keep_buffers() -> bool:
    """Let glibc keep freed buffers for the process instead of giving each back to the system.

    Has an effect on what is allocated afterwards: call it before tensors are made. The process's
    memory does not shrink any more until it ends; its peak is about the same. The values: no buffer
    of its own mapping, no trimming, and growth in steps of 64 MiB.

    Returns
    -------
        Whether it was done: not where the C library is another (macOS, Windows, musl), nor where
        the environment variable ``SYNTHDISTILL_ALLOCATOR`` is ``system``, nor where another
        allocator (jemalloc, tcmalloc) is preloaded.
    """
    if os.environ.get(VARIABLE, "").lower() == "system":
        return False
    if platform.libc_ver()[0] != "glibc" or os.environ.get("LD_PRELOAD"):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(*s) for s in (_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD)] == [1, 1, 1]
    logger.debug("glibc keeps freed buffers: %s (%s=system leaves it alone)", done, VARIABLE)
    return done
