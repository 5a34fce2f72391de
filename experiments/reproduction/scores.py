"""Evaluate what is not evaluated yet, on the benchmarks that are there."""

import functools
from collections.abc import Sequence

import click
from bob.paper.ijcb2023_synthdistill.evaluation.records import describe, is_current

from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
from bob.paper.ijcb2023_synthdistill.evaluation.provenance import EVALUATION
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

from .plan import PlannedModel
from .status_line import StatusLine

# reads a benchmark's list once: pairs and fingerprint need no Bob
open_benchmark = functools.cache(Verification)


def missing_scores(model: PlannedModel, benchmarks: Sequence[str]) -> list[str]:
    """List the benchmarks on which a model's scores are not there, damaged or not current.

    Parameters
    ----------
    model
        Whose file is there.
    benchmarks
        Names.

    Returns
    -------
        Names, in order; among them benchmarks that are not on this machine.
    """
    recipe = NetworkRecipe(model.kind, model.file)
    missing = []
    for name in benchmarks:
        if not (model.folder / name / EVALUATION).is_file():
            # nothing to compare: the benchmark is not opened, which may mean drawing it
            missing.append(name)
            continue
        try:
            description = describe(recipe, name, open_benchmark(name), mirror=True)
            current = is_current(model.folder / name, description)
        except SynthDistillError:
            current = False
        if not current:
            missing.append(name)
    return missing


def absent_benchmarks(benchmarks: Sequence[str]) -> dict[str, str]:
    """Find the benchmarks that cannot be read, with what to do about each."""
    absent = {}
    for name in benchmarks:
        try:
            open_benchmark(name).fingerprint()
        except SynthDistillError as error:
            absent[name] = error.message
    return absent


def evaluate_missing(
    models: Sequence[PlannedModel], benchmarks: Sequence[str], dask_client: str | None
) -> list[str]:
    """Evaluate models, in one process with one dask client, on what is missing.

    Parameters
    ----------
    models
        Whose files are there.
    benchmarks
        Names. One that is not on this machine is left out.
    dask_client
        As Bob's ``-l``; None: this process.

    Returns
    -------
        What failed, a sentence each.
    """
    absent = absent_benchmarks(benchmarks)
    failures = [f"{name} stays empty: {why}" for name, why in absent.items()]
    there = [name for name in benchmarks if name not in absent]
    wanted = [(model, missing_scores(model, there)) for model in models]
    number = sum(len(missing) for _, missing in wanted)
    click.echo(
        f"[evaluate] {number} of {len(models) * len(there)} score files to compute, "
        "the others are there and current"
    )
    if not number:
        return failures
    # Bob's imports take seconds: only when there is something to do
    from bob.paper.ijcb2023_synthdistill.evaluation.chain import ModelSpec, evaluate, open_client

    from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase

    # each is read once, not once for each model
    databases = {name: PairDatabase(name) for name in there}
    line, done = StatusLine("evaluating "), 0
    with open_client(dask_client) as client:
        for model, missing in wanted:
            if not missing:
                continue
            line.show(f"{model.folder.name}, {done} of {number} score files done")
            done += len(missing)
            try:
                evaluate(
                    {model.folder.name: ModelSpec(model.kind, model.file)},
                    {name: databases[name] for name in missing},
                    model.folder.parent,
                    dask_client=client,
                )
            except SynthDistillError as error:
                failures.append(error.message)
            line.clear()
    return failures
