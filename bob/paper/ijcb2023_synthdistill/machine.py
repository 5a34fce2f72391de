"""What a number was computed with: the machine, and the version of this package."""

import contextlib
import os
import platform
import subprocess
import tomllib
from pathlib import Path
from typing import Any

PROJECT = "bob.paper.ijcb2023_synthdistill"


def processor() -> str:
    """Give the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, Any]:
    """Give what the bits of a result depend on, besides the seed.

    Returns
    -------
        ``platform``, ``processor``, ``cores``, ``instruction_set`` (the one that torch uses:
        AVX2, AVX512 ...) and ``threads`` (torch's, of an operation).
    """
    import torch

    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def source_revision(package: Path = Path(__file__).parent) -> str | None:
    """Give the git revision of the package's own source tree; None where it is installed.

    A repository that only lies around an installed package says nothing about it: the package
    counts if it is tracked, in its place, in a repository whose project it is.
    """
    tree = package.parents[2]
    try:
        if Path(_git(package, "rev-parse", "--show-toplevel")).resolve() != tree.resolve():
            return None
        project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
        if project.get("project", {}).get("name") != PROJECT:
            return None
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        return _git(package, "describe", "--always", "--dirty", "--abbrev=40")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    # a hook's GIT_DIR would name another repository
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
