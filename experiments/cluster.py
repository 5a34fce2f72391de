#!/usr/bin/env python
"""Write job scripts for Slurm or SGE: trainings of a table's rows, and GPU workers of dask."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from reproduction.declarations import load_declaration
from reproduction.plan import plan
from reproduction.runs import Run, Settings, State, shell

from bob.paper.ijcb2023_synthdistill.distillation.stopping import REQUEUE
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, atomic_write

NOTICE = 120
"""Seconds before the end of a job's time at which it is told: to finish a step and to save."""


@dataclass(frozen=True)
class Resources:
    """What a job asks for.

    Parameters
    ----------
    gpus
        GPUs of each node.
    nodes
        Nodes of a training.
    cpus
        CPU cores for each GPU.
    memory
        GB of memory for each GPU.
    hours
        Time of a job. A training goes on in the next one.
    workers
        Jobs of one GPU that an evaluation may have at a time.
    directives
        Further options for the scheduler, such as ``--partition=gpu``, as in its own scripts.
    setup
        Shell commands that come first, such as ``source .venv/bin/activate``.
    """

    gpus: int = 1
    nodes: int = 1
    cpus: int = 4
    memory: int = 16
    hours: int = 24
    workers: int = 8
    directives: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    @property
    def walltime(self) -> str:
        """The time as both schedulers write it."""
        return f"{self.hours:02d}:00:00"


def render_slurm(name: str, runs: Sequence[Run], resources: Resources, logs: Path) -> str:
    """Write a Slurm array job, one task a training.

    Slurm sends SIGUSR1 to all processes before the time is over, and SIGTERM where it preempts. The
    training saves and ends with 99; the script then puts itself back into the queue.
    """
    directives = [
        f"--job-name={name}",
        f"--array=0-{len(runs) - 1}",
        f"--nodes={resources.nodes}",
        f"--ntasks-per-node={resources.gpus}",
        f"--gpus-per-node={resources.gpus}",
        f"--cpus-per-task={resources.cpus}",
        f"--mem={resources.memory * resources.gpus}G",
        f"--time={resources.walltime}",
        f"--signal=USR1@{NOTICE}",
        "--requeue",
        "--open-mode=append",
        f"--output={logs}/%x-%A-%a.log",
        *resources.directives,
    ]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in directives),
        "",
        *resources.setup,
        *_choose("$SLURM_ARRAY_TASK_ID", runs, 0),
        "",
        "# one process for each GPU: training finds its rank in Slurm's variables",
        'srun "${command[@]}"',
        "status=$?",
        f'if [ "$status" -eq {REQUEUE} ]; then',
        "    # saved: go on when there is room again",
        '    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
        "fi",
        'exit "$status"',
    ]
    return "\n".join(lines) + "\n"


def render_sge(name: str, runs: Sequence[Run], resources: Resources, logs: Path) -> str:
    """Write an SGE array job, one task a training.

    SGE sends SIGUSR1 at the soft limit and (``-notify``) SIGUSR2 before it kills, and runs a job
    that ends with 99 again. The shell gives its place to the training, which gets the signals.

    Raises
    ------
    SynthDistillError
        Several nodes: SGE starts one process only.
    """
    if resources.nodes > 1:
        raise SynthDistillError("on SGE a training takes one node: leave --nodes at 1")
    soft = resources.hours * 3600 - NOTICE
    directives = [
        f"-N {name}",
        f"-t 1-{len(runs)}",
        "-S /bin/bash",
        "-cwd",
        "-j y",
        f"-o {logs}",
        "-r y",
        "-notify",
        f"-l gpu={resources.gpus}",
        f"-l h_vmem={resources.memory * resources.gpus}G",
        f"-l h_rt={resources.walltime}",
        f"-l s_rt={soft // 3600:02d}:{soft // 60 % 60:02d}:{soft % 60:02d}",
        *resources.directives,
    ]
    lines = [
        "#!/bin/bash",
        *(f"#$ {directive}" for directive in directives),
        "",
        *resources.setup,
        *_choose("$SGE_TASK_ID", runs, 1),
        "",
        'exec "${command[@]}"',
    ]
    return "\n".join(lines) + "\n"


def _choose(variable: str, runs: Sequence[Run], first: int) -> list[str]:
    """Write the lines that choose a task's command."""
    return [
        f'case "{variable}" in',
        *(
            f"{number}) command=({shell(run.command())}) ;;"
            for number, run in enumerate(runs, first)
        ),
        f'*) echo "no training has the number {variable}" >&2; exit 1 ;;',
        "esac",
    ]


def render_dask(scheduler: str, name: str, resources: Resources, logs: Path) -> str:
    """Write a config with a ``dask_client`` whose workers are jobs with one GPU each.

    Nothing is submitted before there is work, and workers that have none end. To be given to
    ``bob bio pipeline simple -l FILE`` or ``reproduce.py --dask-client FILE``.
    """
    kind = {"slurm": "SLURMCluster", "sge": "SGECluster"}[scheduler]
    extra = ["--gpus=1", "--requeue"] if scheduler == "slurm" else ["-l gpu=1", "-r y"]
    arguments = {
        "job_name": f"{name}-worker",
        # one process for each GPU, which computes whole batches: threads would share the device
        "cores": 1,
        "processes": 1,
        "memory": f"{resources.memory}GB",
        "walltime": resources.walltime,
        "job_extra_directives": [*extra, *resources.directives],
        "job_script_prologue": list(resources.setup),
        "log_directory": str(logs),
        # a worker leaves before its time is over, so that no task is lost with it
        "worker_extra_args": ["--lifetime", f"{resources.hours * 60 - 10}m"],
    }
    if scheduler == "slurm":
        arguments["job_cpu"] = resources.cpus
    else:
        arguments["resource_spec"] = f"h_vmem={resources.memory}G"
    lines = [
        f'"""GPU workers on {scheduler}: `bob bio pipeline simple -l THIS_FILE ...`."""',
        "",
        "from dask.distributed import Client",
        f"from dask_jobqueue import {kind}",
        "",
        f"cluster = {kind}(",
        *(f"    {key}={value!r}," for key, value in arguments.items()),
        ")",
        f"cluster.adapt(minimum=0, maximum={resources.workers})",
        "",
        "dask_client = Client(cluster)",
    ]
    return "\n".join(lines) + "\n"


def runs_to_train(
    tables: Sequence[str], variant: str, settings: Settings, *, everything: bool = False
) -> list[Run]:
    """List the trainings of some tables that are not there and current, each once."""
    declarations = [load_declaration(name, variant) for name in tables]
    runs = [model.run for model in plan(declarations, settings) if model.run is not None]
    return [run for run in runs if everything or run.state() is not State.DONE]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("scheduler", type=click.Choice(["slurm", "sge"]))
@click.argument("tables", metavar="TABLE...", nargs=-1, required=True)
@click.option("--variant", type=click.Choice(["toyfaces", "real"]), default="real")
@click.option("--seed", "seeds", type=int, multiple=True, default=(2021,), show_default=True)
@click.option("--config", "configs", multiple=True, help="As of reproduce.py.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results") / "reproduce",
    show_default=True,
    help="As of reproduce.py, which evaluates what the jobs have trained.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results") / "jobs",
    show_default=True,
    help="Folder for the scripts and the jobs' logs.",
)
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="Of a node.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True)
@click.option("--cpus", type=click.IntRange(1), default=4, show_default=True, help="For each GPU.")
@click.option("--memory", type=click.IntRange(1), default=16, show_default=True, help="GB a GPU.")
@click.option("--hours", type=click.IntRange(1), default=24, show_default=True, help="Of a job.")
@click.option("--workers", type=click.IntRange(1), default=8, show_default=True)
@click.option(
    "--directive",
    "directives",
    multiple=True,
    help="A further option for the scheduler, such as `--partition=gpu` or `-q gpu`.",
)
@click.option(
    "--setup",
    multiple=True,
    help="A shell command that comes first, such as `source .venv/bin/activate`.",
)
@click.option("--all", "everything", is_flag=True, help="Also what is trained already.")
@click.option("--dry-run", is_flag=True, help="Print the scripts and write nothing.")
def cluster(
    scheduler: str,
    tables: tuple[str, ...],
    variant: str,
    seeds: tuple[int, ...],
    configs: tuple[str, ...],
    results: Path,
    output: Path,
    gpus: int,
    nodes: int,
    cpus: int,
    memory: int,
    hours: int,
    workers: int,
    directives: tuple[str, ...],
    setup: tuple[str, ...],
    everything: bool,
    dry_run: bool,
) -> None:
    """Write job scripts that train the rows of TABLE... on SCHEDULER (slurm or sge).

    One array job trains all rows; a job that is preempted or out of time saves and is queued
    again. When all have ended, `reproduce.py TABLE... --dask-client FILE` evaluates on GPU workers.
    """
    resources = Resources(gpus, nodes, cpus, memory, hours, workers, directives, setup)
    settings = Settings(
        results=results / variant,
        seeds=seeds,
        configs=configs,
        free={"device": "cuda", "devices": gpus, "num_nodes": nodes},
    )
    runs = runs_to_train(tables, variant, settings, everything=everything)
    name = "synthdistill-" + "-".join(tables)
    logs = output / "logs"
    scripts = {output / f"dask_{scheduler}.py": render_dask(scheduler, name, resources, logs)}
    if runs:
        render = {"slurm": render_slurm, "sge": render_sge}[scheduler]
        scripts[output / f"train.{scheduler}"] = render(name, runs, resources, logs)
    else:
        click.echo("every training of these tables is there and current")
    for path, text in scripts.items():
        if dry_run:
            click.echo(f"# {path}\n{text}")
            continue
        with atomic_write(path) as temporary:
            temporary.write_text(text)
        click.echo(f"wrote {path}")
    if dry_run:
        return
    logs.mkdir(parents=True, exist_ok=True)
    submit = {"slurm": "sbatch", "sge": "qsub"}[scheduler]
    if runs:
        click.echo(f"submit: {submit} {shlex.quote(str(output / f'train.{scheduler}'))}")
    evaluate = shlex.join(["python", "experiments/reproduce.py", *tables, "--variant", variant])
    click.echo(f"then:   {evaluate} --dask-client {output / f'dask_{scheduler}.py'}")


if __name__ == "__main__":
    cluster()
