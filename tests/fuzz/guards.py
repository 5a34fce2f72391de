"""Notice what a reader of a stranger's file must not do: execute, write, or ask for much memory."""

import contextlib
import os
import resource
import sys
from pathlib import Path

MEMORY = 1 << 30
"""Bytes that a reader of a small file may add to the address space of the process."""

FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("subprocess.Popen", "pty.spawn", "socket.connect", "socket.bind", "ctypes.dlopen"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod"),
    *("os.chown", "os.truncate", "os.putenv", "shutil.rmtree", "shutil.move", "shutil.copyfile"),
    *("shutil.unpack_archive", "tempfile.mkstemp", "tempfile.mkdtemp", "webbrowser.open"),
    "pickle.find_class",
}

_state: dict = {"seen": None}


def _hook(event, arguments):
    seen = _state["seen"]
    if seen is None:
        return
    if event == "open":
        _, mode, flags = arguments
        if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+"):
            seen.append((event, str(arguments)))
    elif event == "exec":
        # importing a module executes its file
        if not Path(arguments[0].co_filename).exists():
            seen.append((event, arguments[0].co_filename))
    elif event in FORBIDDEN:
        seen.append((event, str(arguments)[:200]))


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched():
    """Give the list of what was done that is forbidden (audit events of Python)."""
    _state["seen"] = seen = []
    try:
        yield seen
    finally:
        _state["seen"] = None


@contextlib.contextmanager
def limited(memory=MEMORY):
    """Refuse the process more memory than it has, but for some bytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def asked_for_memory(error):
    """Say whether an error is, or was caused by, one of memory."""
    while error is not None:
        words = str(error).lower()
        if isinstance(error, MemoryError) or any(
            w in words for w in ("allocate memory", "enough memory", "memoryerror", "bad_alloc")
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
