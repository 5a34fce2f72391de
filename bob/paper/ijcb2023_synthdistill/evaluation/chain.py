"""Evaluate several models on several databases in one process, with one dask client."""

import contextlib
import dataclasses
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ..files import SynthDistillError
from .network import Kind, NetworkRecipe
from .records import SCORES, describe, is_current, write_record

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model to evaluate.

    Parameters
    ----------
    kind, path
        As kind and source of :py:class:`.network.NetworkRecipe`; a student may also be given by its
        run folder. ``None``: the file named by ``bob config set``.
    """

    kind: Kind
    path: Path | str | None = None

    def recipe(self) -> NetworkRecipe:
        """Give the recipe of the network."""
        path = self.path
        if self.kind == "student" and path is not None and Path(path).is_dir():
            path = Path(path) / "student.safetensors"
        return NetworkRecipe(self.kind, path)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one database.

    Parameters
    ----------
    model, database
        Their names.
    scores
        The score file.
    computed
        Whether it was computed now; otherwise it was there already.
    seconds
        How long that took.
    """

    model: str
    database: str
    scores: Path
    computed: bool
    seconds: float


def evaluate(
    models: Mapping[str, ModelSpec],
    databases: Sequence[str] | Mapping[str, Any],
    output: Path | str,
    *,
    dask_client: Any = None,
    mirror: bool = True,
    batch_size: int | None = None,
    device: str | None = None,
    partition_size: int | None = None,
    force: bool = False,
) -> list[Evaluation]:
    """Write ``OUTPUT/MODEL/DATABASE/scores-dev.csv`` for all models and databases.

    The score files are those of ``bob bio pipeline simple``. Beside each lies ``evaluation.json``,
    which says what was evaluated: what is there and of the same model, database and options is not
    computed again. No feature files are kept.

    Parameters
    ----------
    models
        By the names of their folders.
    databases
        Names of our benchmarks, or Bob databases by name.
    output
        The results folder.
    dask_client
        A ``distributed.Client``, a name of dask's local schedulers, or ``None``: this process.
    mirror, batch_size, device
        As in :py:class:`.embedding.Embedder`.
    partition_size
        Sample sets in a task of dask; ``None``: as Bob chooses.
    force
        Whether to compute what is there, too.

    Returns
    -------
        Models in the order given, for each the databases in the order given.

    Raises
    ------
    SynthDistillError
        Before anything is computed: a model or database is not there or wrong. At the end: some
        evaluations failed. The others are complete, and their files stay.
    """
    output = Path(output).absolute()
    recipes = {_checked(name): spec.recipe() for name, spec in models.items()}
    opened = _open(databases)
    descriptions = _describe_all(recipes, opened, mirror)
    done, failures = [], []
    for (model, database), description in descriptions.items():
        folder = output / model / database
        if not force and is_current(folder, description):
            logger.info("%s on %s: there already", model, database)
            done.append(Evaluation(model, database, folder / SCORES, False, 0.0))
            continue
        logger.debug("%s on %s ...", model, database)
        start = time.monotonic()
        try:
            _run(
                (recipes[model], mirror, batch_size, device),
                opened[database],
                folder,
                dask_client,
                partition_size,
            )
            if recipes[model].fingerprint() != description["model"]["sha256"]:
                raise SynthDistillError(
                    "the model's file changed during the evaluation: evaluate it again"
                )
            seconds = time.monotonic() - start
            write_record(folder, description, seconds)
        except Exception as error:
            # what was asked for tonight goes on without it; the words come at the end
            logger.debug("%s on %s failed", model, database, exc_info=True)
            message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
            logger.error("%s on %s failed: %s", model, database, message)
            failures.append(f"{model} on {database}: {message}")
            continue
        logger.info("%s on %s: %.1f s", model, database, seconds)
        done.append(Evaluation(model, database, folder / SCORES, True, seconds))
    if failures:
        raise SynthDistillError(
            f"{len(failures)} of {len(descriptions)} evaluations failed:\n  "
            + "\n  ".join(failures)
            + "\nRun the same command again when this is mended: what is done is not done again."
        )
    return done


def _checked(name: str) -> str:
    """Refuse names that would leave the results folder."""
    parts = PurePath(name).parts
    if not parts or PurePath(name).is_absolute() or ".." in parts:
        raise SynthDistillError(f"expected the name of a folder for a model, found {name!r}")
    return name


def _open(databases: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Make the databases, which open no file yet."""
    if isinstance(databases, Mapping):
        return {_checked(name): database for name, database in databases.items()}
    from ..benchmarks.database import PairDatabase

    return {name: PairDatabase(name) for name in databases}


def _describe_all(
    recipes: Mapping[str, NetworkRecipe], databases: Mapping[str, Any], mirror: bool
) -> dict[tuple[str, str], dict[str, Any]]:
    """Describe all evaluations; name everything that is missing at once, before any work."""
    descriptions, problems = {}, []
    for model, recipe in recipes.items():
        for name, database in databases.items():
            try:
                descriptions[model, name] = describe(recipe, name, database, mirror)
            except SynthDistillError as error:
                if error.message not in problems:
                    problems.append(error.message)
    if problems:
        raise SynthDistillError("nothing was evaluated:\n  " + "\n  ".join(problems))
    return descriptions


def _run(network: tuple, database: Any, folder: Path, client: Any, size: int | None) -> None:
    """Let Bob compute and write the scores of one model on one database."""
    from bob.bio.base.pipelines import execute_pipeline_simple

    from .pipeline import NetworkPipeline

    try:
        execute_pipeline_simple(
            pipeline=NetworkPipeline(*network),
            database=database,
            dask_client=client,
            groups=["dev"],
            output=str(folder),
            write_metadata_scores=True,
            checkpoint=False,
            dask_n_partitions=None,
            dask_partition_size=size,
            dask_n_workers=None,
        )
    finally:
        # Bob's parts of the score file, which it leaves behind when a run fails
        shutil.rmtree(folder / "tmp", ignore_errors=True)


@contextlib.contextmanager
def open_client(name: str | None, workers: int | None = None) -> Iterator[Any]:
    """Start the dask client that Bob's ``-l`` names, and close it in the end.

    Parameters
    ----------
    name
        As ``bob bio pipeline simple -l`` takes it: ``local-parallel``, ``sge``, ``slurm`` ..., a
        Python file with a ``dask_client``, a name of dask's local schedulers; ``None``: no dask.
    workers
        How many workers to start with; ``None``: the client's own number.

    Yields
    ------
        What :py:func:`evaluate` takes as ``dask_client``.

    Raises
    ------
    SynthDistillError
        There is no such client, or it does not start.
    """
    from bob.pipelines.distributed import VALID_DASK_CLIENT_STRINGS, get_local_parallel_client
    from clapper.config import load

    client: Any = name
    if name == "local-parallel":
        client = get_local_parallel_client(workers)
    elif name is not None and name not in VALID_DASK_CLIENT_STRINGS:
        try:
            client = load([name], entry_point_group="dask.client", attribute_name="dask_client")
        except Exception as error:
            raise SynthDistillError(f"cannot start the dask client {name}: {error}") from error
        if workers is not None and not isinstance(client, str):
            client.cluster.scale(workers)
    try:
        yield client
    finally:
        if hasattr(client, "close"):
            client.close()
            if client.cluster is not None:
                client.cluster.close()
