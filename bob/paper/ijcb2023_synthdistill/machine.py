"""What a number was computed with: the machine, and the version of this package."""

import contextlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PROJECT = "bob.paper.ijcb2023_synthdistill"


def wait_briefly() -> None:
    """Let OpenMP's threads sleep after a short wait, unless the user chose otherwise.

    GNU's default is ten times as long, and the cores stay busy: beside other work each operation
    then waits for a thread that has no core. Call it before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")


def processor() -> str:
    """Give the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def package_version(name: str) -> str:
    """Give the version of an installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:  # a source tree that is not installed
        return "unknown"


def describe_machine() -> dict[str, Any]:
    """Give what the bits of a result depend on, besides the seed.

    The instruction set (AVX2, AVX512 ...) and the number of threads of an operation are torch's.
    """
    import torch

    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def source_revision(tree: Path = Path(__file__).parents[3]) -> str | None:
    """Give the git revision of the package's own source tree; None where it is installed."""
    if not (tree / ".git").exists():
        return None  # a repository that lies around an installed package says nothing about it
    # a hook's GIT_DIR would name another repository
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
