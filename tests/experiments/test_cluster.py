"""Job scripts are shell that bash accepts, with directives that the schedulers know."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from cluster import cluster

TABLES = Path(__file__).parents[2] / "experiments" / "tables"


def render(*arguments):
    result = CliRunner().invoke(cluster, [*arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    parts = re.split(r"^# (.+\.(?:py|slurm|sge))\n", result.output, flags=re.MULTILINE)[1:]
    return {Path(name).name: text for name, text in zip(parts[::2], parts[1::2], strict=True)}


def directives(script, mark):
    return [line[len(mark) + 1 :] for line in script.splitlines() if line.startswith(mark + " ")]


def in_bash(script, **variables):
    """Run a script with the scheduler's commands replaced by ones that tell their arguments."""
    stubs = (
        'srun() { printf "%s\\n" "$@"; return "$CODE"; }\n'
        'scontrol() { echo "scontrol $*"; }\n'
        'exec() { printf "%s\\n" "$@"; }\n'
    )
    return subprocess.run(
        ["bash", "-c", stubs + script],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def slurm():
    return render(
        *("slurm", "table1", "table3", "--variant", "toyfaces", "--gpus", "2", "--nodes", "3"),
        *("--setup", "export A='x y'", "--directive=--partition=gpu", "--seed", "1", "--seed", "2"),
    )


@pytest.fixture(scope="module")
def sge():
    return render("sge", "table1", "--variant", "toyfaces", "--gpus", "2", "--hours", "2")


def test_bash_accepts_the_scripts(slurm, sge):
    for script in (slurm["train.slurm"], sge["train.sge"]):
        result = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_slurm_s_directives(slurm):
    script = slurm["train.slurm"]
    # sbatch reads directives up to the first command
    assert "#SBATCH" not in script.partition("\n\n")[2]
    found = dict(d.removeprefix("--").partition("=")[::2] for d in directives(script, "#SBATCH"))
    assert {"requeue", "partition", "output", "time", "mem", "job-name"} <= found.keys()
    assert found["signal"] == "USR1@120"
    assert (found["nodes"], found["ntasks-per-node"], found["gpus-per-node"]) == ("3", "2", "2")
    assert found["open-mode"] == "append"
    tasks = int(found["array"].removeprefix("0-")) + 1
    assert tasks == len(re.findall(r"^\d+\) command=", script, flags=re.MULTILINE)) >= 8


def test_slurm_s_tasks_train_each_run_once_and_come_back(slurm):
    script = slurm["train.slurm"]
    tasks = len(re.findall(r"^\d+\) command=", script, flags=re.MULTILINE))
    folders = set()
    for task in range(tasks):
        variables = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_JOB_ID": "7"}
        result = in_bash(script, CODE="0", **variables)
        words = result.stdout.splitlines()
        assert result.returncode == 0, result.stderr
        assert words[0] == "synthdistill-train"
        assert words[words.index("--devices") + 1] == "2"
        assert words[words.index("--num-nodes") + 1] == "3"
        folders.add(words[words.index("--output") + 1])
    assert len(folders) == tasks
    stopped = in_bash(script, CODE="99", **variables)
    assert stopped.returncode == 99
    assert f"scontrol requeue 7_{tasks - 1}" in stopped.stdout
    failed = in_bash(script, CODE="1", **variables)
    assert failed.returncode == 1
    assert "scontrol" not in failed.stdout
    assert in_bash(script, CODE="0", SLURM_ARRAY_TASK_ID="99").returncode == 1


def test_sge_s_directives_and_tasks(sge):
    script = sge["train.sge"]
    words = [word for d in directives(script, "#$") for word in shlex.split(d)]
    assert {"-notify", "-r", "-t", "-N", "-cwd", "s_rt=01:58:00", "h_rt=02:00:00"} <= set(words)
    tasks = int(words[words.index("-t") + 1].removeprefix("1-"))
    assert tasks == len(re.findall(r"^\d+\) command=", script, flags=re.MULTILINE))
    for task in range(1, tasks + 1):
        result = in_bash(script, SGE_TASK_ID=str(task))
        assert result.stdout.startswith("synthdistill-train\n"), result.stderr
    assert script.rstrip().endswith('exec "${command[@]}"')


def test_sge_takes_one_node():
    result = CliRunner().invoke(cluster, ["sge", "table1", "--nodes", "2", "--dry-run"])
    assert result.exit_code == 1
    assert "one node" in result.output


@pytest.mark.parametrize("scheduler", ["slurm", "sge"])
def test_dask_s_workers_have_a_gpu_each(scheduler, slurm, sge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = {"slurm": slurm, "sge": sge}[scheduler][f"dask_{scheduler}.py"]
    context = {}
    exec(compile(text, "dask.py", "exec"), context)
    try:
        script = context["cluster"].job_script()
        assert context["dask_client"].scheduler_info()["workers"] == {}
    finally:
        context["dask_client"].close()
        context["cluster"].close()
    wanted = {"slurm": "#SBATCH --gpus=1", "sge": "#$ -l gpu=1"}[scheduler]
    assert wanted in script.splitlines()
    assert "--lifetime" in script
    result = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_scripts_are_written(tmp_path):
    result = CliRunner().invoke(
        cluster, ["slurm", "table1", "--variant", "toyfaces", "-o", str(tmp_path / "jobs")]
    )
    assert result.exit_code == 0, result.output
    assert f"submit: sbatch {tmp_path}/jobs/train.slurm" in result.output
    assert sorted(p.name for p in (tmp_path / "jobs").iterdir()) == [
        "dask_slurm.py",
        "logs",
        "train.slurm",
    ]
