"""``synthdistill-evaluate``: one model on several benchmarks by Bob's command, then its table."""

from pathlib import Path

import click

from . import FOLDER, command, database_option


@command(
    "synthdistill-evaluate results/tinyfar-a",
    "synthdistill-evaluate results/toyfaces -d toyfaces-lfw -d toyfaces-cfp-fp -l local-parallel",
)
@click.argument("model", metavar="MODEL", type=FOLDER)
@database_option(
    "databases",
    multiple=True,
    help="A benchmark, or the Python file of a database of your own; may be given several times.  "
    "[default: the real benchmarks whose folders are configured, or the five drawn ones]",
)
@click.option("-l", "--dask-client", metavar="CLIENT", help="As Bob's: local-parallel, sge, slurm.")
@click.pass_context
def evaluate(
    ctx: click.Context, model: Path, databases: tuple[str, ...], dask_client: str | None
) -> None:
    """Evaluate the model whose folder is MODEL, and print its table.

    For each DATABASE it runs `bob bio pipeline simple -d DATABASE -p MODEL/pipeline.py -o
    MODEL/DATABASE`, unless scores of this very model are there, and in the end `synthdistill-table
    MODEL`. What fails is told, the others go on, and the exit status is 1.
    """
    import shlex
    import subprocess
    import sys

    from ..benchmarks.benchmark import benchmarks
    from ..evaluation.results import open_database, read_model
    from ..evaluation.terminal import INTERRUPTED, exit_when_interrupted
    from ..files import SynthDistillError, configured_path
    from .table import table

    exit_when_interrupted()
    pipeline = model / "pipeline.py"
    if not pipeline.is_file():
        raise SynthDistillError(
            f"{pipeline} is missing: expected what synthdistill-train or -export wrote."
        )
    known = benchmarks()
    real = [name for name, one in known.items() if not one.drawn and configured_path(one.key)]
    databases = databases or tuple(real or (name for name, one in known.items() if one.drawn))
    opened = {name: open_database(name) for name in databases}
    failed = []
    for given, database in opened.items():
        try:
            read_model(model, database)
            click.echo(f"{database.name}: evaluated before", err=True)
            continue
        except SynthDistillError:
            pass  # missing, or of another student
        words = ["bio", "pipeline", "simple", "--memory", "-d", given, "-p", str(pipeline)]
        words += ["-o", str(model / database.name), *(["-l", dask_client] if dask_client else [])]
        click.echo(f"bob {shlex.join(words)}", err=True)
        bob = Path(sys.executable).with_name("bob")
        code = subprocess.run([bob, *words], check=False).returncode  # noqa: S603
        if code == INTERRUPTED:
            raise click.exceptions.Exit(code)
        failed += [given] * (code != 0)
    if done := tuple(name for name in opened if name not in failed):
        ctx.invoke(table, folders=(model,), databases=done)
    if failed:
        raise SynthDistillError(f"not evaluated: {', '.join(failed)}. The reasons stand above.")
