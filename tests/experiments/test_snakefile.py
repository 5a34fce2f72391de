"""Snakemake makes the right commands of the tables, and runs them once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bob.paper.ijcb2023_synthdistill import toyfaces
from bob.paper.ijcb2023_synthdistill.files import configure_path
from bob.paper.ijcb2023_synthdistill.toyfaces.benchmarks import TOYFACES_KEY
from bob.paper.ijcb2023_synthdistill.toyfaces.layouts import write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def snakemake(tmp_path):
    """Run Snakemake in a folder of its own; give its exit status and what it says."""

    def run(*words):
        command = [sys.executable, "-m", "snakemake", "-s", ROOT / "experiments" / "Snakefile"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        result = subprocess.run([*command, "-c2", *words], cwd=tmp_path, env=environment, **pipes)
        return result.returncode, result.stdout

    return run


def test_dry_run_of_the_miniature_tables(snakemake):
    status, said = snakemake("-n", "all", "demo", "pictures", "--config", "optional=yes")
    assert status == 0, said
    assert "missing (" not in said
    # 47 students, the teacher, two of table 1 and of the demo: each once, on five benchmarks; and
    # four exported ones of table 2
    commands = re.findall(r"^Shell command: (synthdistill-train .+) >", said, re.MULTILINE)
    assert len(commands) == len(set(commands)) == 48
    static = "toyfaces --sampling static --seed 2021  --output results/toyfaces/runs/"
    assert f"synthdistill-train {static}toyfaces-sampling-static-seed-2021" in commands
    assert said.count("Shell command: bob bio pipeline simple") == 5 * (49 + 4)
    teacher = r"build.py teacher --seed 2 --output \S+/seed-2 "
    assert len(re.findall(f"^Shell command: python .+{teacher}", said, re.MULTILINE)) == 1
    exported = re.findall(r"^Shell command: synthdistill-export (\S+) -o (\S+)", said, re.MULTILINE)
    assert len(exported) == 3
    runs = "results/toyfaces/runs"
    student = "toyfaces-seed-2021"
    assert (f"{runs}/{student}", f"{runs}/exported/{student}") in exported
    assert len(re.findall("^Job .*: print", said, re.MULTILINE)) == 8


def test_dry_run_at_the_paper_s_scale_tells_what_is_missing(snakemake):
    status, said = snakemake("-n", "--config", "variant=real", "rate=600", "seeds=1,2")
    assert status == 0, said
    assert "generator: synthdistill-fetch" in said
    assert "agedb-30: bob config set" in said
    assert "train tinyfar-b-seed-2: 41,997,312 images, 19.4 h" in said
    status, said = snakemake("table1", "--config", "variant=real")
    assert status == 1
    assert "nothing was begun" in said


@pytest.fixture
def micro(tmp_path, micro_generator, monkeypatch):
    """Declare a table whose student is trained in seconds, and a benchmark of 40 pairs."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    write(tmp_path / "faces", ["lfw"], ["bin"], pairs_per_fold=4, seed=1)
    configure_path(TOYFACES_KEY, tmp_path / "faces")
    config = tmp_path / "tiny.py"
    config.write_text(
        f"generator = {str(micro_generator)!r}\nteacher = {str(toyfaces.TEACHER)!r}\n"
        "student = 'test_efficientnet'\ninitialisation = 'random'\ndevice = 'cpu'\n"
        "epochs = 1\nimages_per_epoch = 8\nbatch_size = 4\nvalidation_images = 0\n"
    )
    table = tmp_path / "mine.toml"
    table.write_text('title = "Mine"\n[[rows]]\nlabel = "tiny {x}"\nstudent = "tiny.py"\n')
    return config


@pytest.mark.slow
def test_a_table_is_made_once_and_again_after_a_change(micro, snakemake, tmp_path):
    settings = ["--config", "table=mine.toml", "results=my results", "databases=toyfaces-lfw"]
    status, said = snakemake("mine", *settings)
    assert status == 0, said
    folder = tmp_path / "my results"
    table = (folder / "mine" / "table.md").read_text()
    assert "**Mine (toyfaces)**" in table
    assert re.search(r"\| tiny {x} +\| +\d+\.\d+ ± ", table)
    assert "<table>" in (folder / "mine" / "table.html").read_text()
    run = folder / "runs" / "tiny-seed-2021"
    before = (run / "options.json").read_text()

    status, said = snakemake("mine", *settings)
    assert "Nothing to be done" in said

    # a changed option: trained again beside the old run, which is kept
    micro.write_text(micro.read_text().replace("batch_size = 4", "batch_size = 2"))
    status, said = snakemake(run.relative_to(tmp_path) / "student.safetensors", *settings)
    assert status == 0, said
    assert "Params have changed since last execution" in said
    assert "'batch_size = 4'" in said
    assert '"batch_size": 2' in (run / "options.json").read_text()
    assert (run / "before-1" / "options.json").read_text() == before
    assert (run / "before-1" / "student.safetensors").is_file()

    # a failure: told with the command's own words
    micro.write_text(micro.read_text().replace(str(toyfaces.TEACHER), "nowhere.safetensors"))
    status, said = snakemake("mine", *settings)
    assert status == 1
    assert "nowhere.safetensors" in said
