"""Processes for the tests of this room."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def in_processes(tmp_path):
    """Do what plans say with the script beside this file; give what it prints."""

    def run(*plans):
        path = tmp_path / "plans.json"
        path.write_text(json.dumps(plans))
        result = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "processes.py"), str(path)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture
def tiny_plan(micro_generator, small_teacher):
    """Options, as JSON can hold them, of a run that is over in seconds."""
    return {
        "student": "Tiny",
        "initialisation": "random",
        "generator": str(micro_generator),
        "teacher": str(small_teacher),
        "epochs": 2,
        "images_per_epoch": 40,
        "batch_size": 4,
        "validation_images": 8,
        "device": "cpu",
    }
