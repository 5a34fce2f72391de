"""Imports are costs: help is quick, and a training does not pay for the evaluation."""

import json
import subprocess
import sys
import time
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest

COMMANDS = sorted(
    (e for e in entry_points(group="console_scripts") if e.name.startswith("synthdistill-")),
    key=lambda e: e.name,
)
HEAVY = ("torch", "timm", "bob.bio", "dask", "lightning_fabric", "matplotlib", "scipy", "sklearn")


def imported_by(program: str) -> set[str]:
    """Give the heavy packages that a program has imported when it ends."""
    program += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    return {name for name in HEAVY if name in modules}


def test_all_commands_are_there():
    folder = Path(files("bob.paper.ijcb2023_synthdistill.scripts"))
    names = sorted(path.stem for path in folder.glob("[!_]*.py"))
    assert [e.name for e in COMMANDS] == [f"synthdistill-{name}" for name in names]


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda e: e.name)
def test_help_imports_nothing_heavy_and_is_quick(entry):
    begin = time.monotonic()
    program = f"""
import sys, runpy
sys.argv = ["{entry.name}", "--help"]
from {entry.module} import {entry.attr} as command
try:
    command()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert imported_by(program) == set()
    # under two seconds on a quiet machine; tests share theirs
    assert time.monotonic() - begin < 10


def test_training_imports_neither_bob_bio_nor_dask():
    program = """
import bob.paper.ijcb2023_synthdistill.distillation.loop
import bob.paper.ijcb2023_synthdistill.distillation.plan
import bob.paper.ijcb2023_synthdistill.recognition.student
import bob.paper.ijcb2023_synthdistill.generators.stylegan2
"""
    found = imported_by(program)
    assert "torch" in found
    assert not found & {"bob.bio", "dask", "sklearn"}
