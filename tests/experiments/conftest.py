"""The experiments' scripts are no package: they stand beside each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
sys.path.insert(0, str(EXPERIMENTS))


@pytest.fixture
def snakemake(tmp_path):
    """Run Snakemake in a folder of its own; give its exit status and what it says."""

    def run(*words):
        command = [sys.executable, "-m", "snakemake", "-s", EXPERIMENTS / "Snakefile", "-c2"]
        result = subprocess.run(
            [*command, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return result.returncode, result.stdout

    return run
