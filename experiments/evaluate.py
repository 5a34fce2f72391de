#!/usr/bin/env python
"""Evaluate several models on several databases: Bob and its workers start only once."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

if TYPE_CHECKING:
    from bob.paper.ijcb2023_synthdistill.evaluation.chain import ModelSpec
    from bob.paper.ijcb2023_synthdistill.evaluation.network import Kind


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    python experiments/evaluate.py -s results/tinyfar-a -s results/tinyfar-b \\
        -t iresnet100=configured -d lfw -d calfw -o results
    python experiments/evaluate.py -s results/toyfaces -d toyfaces-lfw -l local-parallel -w 2
    python experiments/evaluate.py -n mine=my_package.nets:make -d lfw -l slurm -w 32
""",
)
@click.option(
    "-s",
    "--student",
    "students",
    multiple=True,
    metavar="[NAME=]PATH",
    help="A run folder or a student.safetensors. NAME is its folder under the results folder; "
    "by default the run folder's name. May be repeated.",
)
@click.option(
    "-t",
    "--teacher",
    "teachers",
    multiple=True,
    metavar="[NAME=]PATH",
    help="A teacher's file, or `configured` for the one that `bob config` names. May be repeated.",
)
@click.option(
    "-n",
    "--network",
    "networks",
    multiple=True,
    metavar="[NAME=]MODULE:CALLABLE",
    help="Any torch module, or function that returns one. May be repeated.",
)
@click.option(
    "-d",
    "--database",
    "databases",
    multiple=True,
    required=True,
    metavar="DATABASE",
    help="As `bob bio pipeline simple -d` takes it: a name, or a Python file with a `database`. "
    "May be repeated.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Results folder: scores go to OUTPUT/MODEL/DATABASE/scores-dev.csv.",
)
@click.option(
    "-l",
    "--dask-client",
    metavar="CLIENT",
    help="As `bob bio pipeline simple -l` takes it (local-parallel, sge, slurm ...). Without it "
    "all cores of this machine compute in one process.",
)
@click.option("-w", "--workers", type=click.IntRange(1), help="Workers to start with.")
@click.option(
    "--partition-size", type=click.IntRange(1), help="Sample sets in a task of the workers."
)
@click.option(
    "--mirror/--no-mirror",
    default=True,
    show_default=True,
    help="Add the embedding of the mirrored image, as the field does.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), help="Images, with mirrored ones, in a batch."
)
@click.option("--device", help="cpu, cuda, cuda:1 ...; by default CUDA where there is a device.")
@click.option("-f", "--force", is_flag=True, help="Evaluate again what is there and current.")
def evaluate(
    students: tuple[str, ...],
    teachers: tuple[str, ...],
    networks: tuple[str, ...],
    databases: tuple[str, ...],
    output: Path,
    dask_client: str | None,
    workers: int | None,
    partition_size: int | None,
    mirror: bool,
    batch_size: int | None,
    device: str | None,
    force: bool,
) -> None:
    """Write the scores of all models on all databases, unless they are there and current."""
    from bob.paper.ijcb2023_synthdistill.evaluation import chain

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("bob.paper.ijcb2023_synthdistill").setLevel(logging.INFO)
    models: dict[str, chain.ModelSpec] = {}
    groups: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("student", students),
        ("teacher", teachers),
        ("network", networks),
    )
    for kind, given in groups:
        for text in given:
            name, spec = _parse(kind, text)
            if name in models:
                raise SynthDistillError(
                    f"two models are called {name}: give one another name, as NAME={text}"
                )
            models[name] = spec
    if not models:
        raise SynthDistillError("no model given: choose one with -s, -t or -n (see --help)")
    opened = dict(map(_load_database, databases))
    with chain.open_client(dask_client, workers) as client:
        done = chain.evaluate(
            models,
            opened,
            output,
            dask_client=client,
            mirror=mirror,
            batch_size=batch_size,
            device=device,
            partition_size=partition_size,
            force=force,
        )
    for evaluation in done:
        note = f"{evaluation.seconds:.1f} s" if evaluation.computed else "there already"
        click.echo(f"{evaluation.scores} ({note})")


def _parse(kind: "Kind", text: str) -> "tuple[str, ModelSpec]":
    """Read ``[NAME=]SOURCE``; give the name and the model."""
    from bob.paper.ijcb2023_synthdistill.evaluation.chain import ModelSpec

    name, equals, source = text.rpartition("=")
    if not equals:
        path = Path(source)
        name = path.parent.resolve().name if path.name == "student.safetensors" else path.stem
        name = path.resolve().name if path.is_dir() else name
        name = source.replace(":", ".") if kind == "network" else name
        name = kind if source == "configured" else name
    return name, ModelSpec(kind, None if source == "configured" else source)


def _load_database(text: str) -> tuple[str, object]:
    """Load a database as Bob does; give its name and itself."""
    from clapper.config import load

    try:
        database = load([text], entry_point_group="bob.bio.database", attribute_name="database")
    except (ValueError, ImportError, OSError) as error:
        raise SynthDistillError(f"cannot load the database {text}: {error}") from error
    return Path(text).stem if text.endswith(".py") else text, database


if __name__ == "__main__":
    evaluate()
