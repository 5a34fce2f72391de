"""Bob pipelines for our networks: embeddings, cosine scores, and a score file that is complete."""

import atexit
import contextlib
import fcntl
import functools
import itertools
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import BioAlgCheckpointWrapper, CSVScoreWriter, PipelineSimple
from bob.pipelines import Sample, SampleSet, ToDaskBag
from dask.delayed import Delayed
from distributed import Client, KilledWorker, Worker, WorkerPlugin
from sklearn.pipeline import Pipeline

from ..benchmarks.verification import Verification
from ..files import SynthDistillError, atomic_write, remove_temporaries
from ..recognition.own import Network
from .embedding import CPU_BATCH, EmbeddingTransformer
from .interruption import exit_when_interrupted
from .network import NetworkRecipe
from .provenance import write_origin

LARGEST_PARTITION = 128
"""Sample sets in a task of dask, unless the user says how many. Where nobody says, dask makes 300
of 1,200 sets: four images in each, embedded by a batch of which half is filling."""

FEWEST_PARTITIONS = 8
"""Tasks to divide among the workers, where there are enough images to fill their batches."""


class CosineScores(Distance):
    """Bob's ``Distance`` with the cosine (score = cosine - 1), quicker where pairs are listed.

    Images without an embedding (NaN) never match: their scores are minus infinity.
    """

    def compare(self, enroll_templates: Sequence, probe_templates: Sequence) -> np.ndarray:
        """Give the scores ``[N, M]`` of N references and M probes."""
        scores = super().compare(enroll_templates, probe_templates)
        return np.where(np.isnan(scores), -np.inf, scores)

    def score_sample_templates(
        self, probe_samples: list[Sample], enroll_samples: list[Sample], score_all_vs_all: bool
    ) -> list[SampleSet]:
        """Score probes as Bob does, handing it with each probe only the references that it names.

        Bob looks through all references for each probe: on benchmarks of pairs, where a probe has
        two or three, that takes longer than the comparisons.
        """
        score = functools.partial(super().score_sample_templates, score_all_vs_all=score_all_vs_all)
        if score_all_vs_all:
            return score(probe_samples, enroll_samples)
        places: dict[str, list[int]] = {}
        for place, enrolled in enumerate(enroll_samples):
            places.setdefault(str(enrolled.template_id), []).append(place)
        scores = []
        for probe in probe_samples:
            named = {str(reference) for reference in probe.references}
            chosen = sorted(place for name in named for place in places.get(name, ()))
            scores += score([probe], [enroll_samples[place] for place in chosen])
        return scores


class NetworkPipeline(PipelineSimple):
    """Bob's simple pipeline without feature files, with a score file that is complete or not there.

    Beside the scores it writes what they are of: see :py:mod:`.provenance`. The parameters are
    those of :py:class:`.embedding.EmbeddingTransformer`.
    """

    def __init__(
        self,
        recipe: NetworkRecipe,
        mirror: bool = True,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        self.embedding = EmbeddingTransformer(recipe, mirror, batch_size, device)
        super().__init__(Pipeline([("embedding", self.embedding)]), CosineScores())
        self._evaluation: Evaluation | None = None
        if "jobqueue" in getattr(signal.getsignal(signal.SIGINT), "__module__", ""):
            exit_when_interrupted()

    def __getstate__(self) -> dict[str, Any]:
        # a worker that writes scores needs no evaluation
        return {**self.__dict__, "_evaluation": None}

    @property
    def biometric_algorithm(self) -> Any:
        """What makes and compares templates."""
        return self._algorithm

    @biometric_algorithm.setter
    def biometric_algorithm(self, algorithm: Any) -> None:
        if isinstance(algorithm, BioAlgCheckpointWrapper):
            # the files of references that Bob would keep know neither their network nor their image
            algorithm = algorithm.biometric_algorithm
        self._algorithm = algorithm

    def __call__(
        self,
        background_model_samples: Sequence,
        biometric_reference_samples: Sequence,
        probe_samples: Sequence,
        score_all_vs_all: bool = True,
        return_templates: bool = False,
    ) -> Any:
        """Compute scores as :py:class:`bob.bio.base.pipelines.PipelineSimple` does."""
        expected = (
            len(probe_samples) * len(biometric_reference_samples)
            if score_all_vs_all
            else sum(len({str(other) for other in probe.references}) for probe in probe_samples)
        )
        with contextlib.suppress(ValueError):  # there is no client
            _close_at_exit(Client.current())
        parts = Path(self.score_writer.path)
        self._evaluation = Evaluation(
            # Bob's own commands write below their output folder; other scripts anywhere
            parts.parent if parts.name == "tmp" else None,
            self.embedding,
            getattr(biometric_reference_samples, "database", None),
            expected,
        )
        self._suit_partitions(max(len(biometric_reference_samples), len(probe_samples)))
        try:
            return super().__call__(
                background_model_samples,
                biometric_reference_samples,
                probe_samples,
                score_all_vs_all,
                return_templates,
            )
        except BaseException:
            self._evaluation.end()
            raise

    def _suit_partitions(self, sample_sets: int) -> None:
        """Set the size of dask's partitions where neither the user nor Bob has chosen one."""
        first = self.transformer.steps[0][1]
        if not isinstance(first, ToDaskBag) or first.partition_size or first.npartitions:
            return
        wanted = min(LARGEST_PARTITION, math.ceil(sample_sets / FEWEST_PARTITIONS))
        # whole batches: the last of each partition is filled up, and computed in full
        first.partition_size = CPU_BATCH * max(1, math.ceil(wanted / CPU_BATCH))

    def write_scores(self, scores: Any) -> Any:
        """Write a part of the score file (with dask a worker does it)."""
        try:
            return super().write_scores(scores)
        except OSError as error:
            raise SynthDistillError(
                f"cannot write scores to {self.score_writer.path}: {error.strerror or error}. Make "
                "room or choose another folder, and run the same command again."
            ) from error

    def post_process(self, score_paths: Any, filename: str) -> Any:
        """Put the parts of the score file together, once dask has computed them if it does."""
        import dask.bag

        headers = 1 if isinstance(self.score_writer, CSVScoreWriter) else 0
        assert self._evaluation is not None, "Bob calls the pipeline first"  # noqa: S101
        finish = functools.partial(self._evaluation.finish, path=Path(filename), headers=headers)
        if isinstance(score_paths, dask.bag.Bag):
            return DelayedScores(dask.delayed(list)(score_paths), finish, self._evaluation.end)
        return finish(score_paths)


class Evaluation:
    """One evaluation at work: it holds its folder, and makes the score file and its record.

    Parameters
    ----------
    folder
        The output folder, if it is known: a second evaluation into it is refused.
    embedding
        Knows network and options.
    database
        The benchmark, if it is one of ours.
    expected
        Number of scores.
    """

    def __init__(
        self,
        folder: Path | None,
        embedding: EmbeddingTransformer,
        database: Verification | None,
        expected: int,
    ) -> None:
        self.recipe, self.expected, self.folder = embedding.recipe, expected, folder
        self.started, own = time.monotonic(), embedding.recipe.kind == "network"
        self.description = {
            "network": {
                "kind": self.recipe.kind,
                "place": self.recipe.place() if own else str(self.recipe.path()),
                "sha256": self.recipe.fingerprint(),
            },
            "options": {k: v for k, v in vars(embedding).items() if k != "recipe"},
            "database": {
                "name": database.name,
                "description": database.describe(),
                "fingerprint": database.fingerprint(),
                "unusable": {
                    database.opened.pairs.images[n]: why for n, why in database.unusable.items()
                },
            }
            if database
            else {},
        }
        self._held = _hold(folder) if folder else None
        self._tidy()

    def finish(self, parts: Iterable[str], path: Path, headers: int) -> list[str]:
        """Write the parts of a score file as one, with its record: all of it or nothing."""
        rows = 0
        try:
            with atomic_write(path) as temporary:
                with temporary.open("w", newline="") as whole:
                    for number, part in enumerate(parts):
                        with Path(part).open(newline="") as lines:
                            head = list(itertools.islice(lines, headers))
                            whole.writelines(head if number == 0 else [])
                            for line in lines:
                                whole.write(line)
                                rows += 1
                if rows != self.expected:
                    raise SynthDistillError(
                        f"expected {self.expected:,} scores, found {rows:,}: {path} is not "
                        "written. Are all references of the database's probes among its "
                        "references, each once?"
                    )
                if self.recipe.fingerprint() != self.description["network"]["sha256"]:
                    raise SynthDistillError(
                        f"the {self.recipe} changed during its evaluation: evaluate it again."
                    )
                seconds = round(time.monotonic() - self.started, 3)
                write_origin(path, temporary, {**self.description, "seconds": seconds})
        finally:
            self.end()
        return [str(path)]

    def end(self) -> None:
        """Remove what is half done, and free the folder."""
        self._tidy()
        if self._held:
            self._held.close()
            self._held = None

    def _tidy(self) -> None:
        if self.folder and self._held:
            shutil.rmtree(self.folder / "tmp", ignore_errors=True)
            remove_temporaries(self.folder)


def _hold(folder: Path) -> IO[str]:
    """Hold a folder for this process; the system frees it when the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        stream = os.fdopen(os.open(folder / ".lock", flags, 0o666), "r+")
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise SynthDistillError(
            f"another evaluation is at work in {folder}, or the folder cannot be written: wait for "
            "it, or choose another folder with -o."
        ) from error
    except OSError as error:
        raise SynthDistillError(
            f"cannot write to {folder}: {error.strerror}. Choose another folder with -o."
        ) from error
    return stream


class DelayedScores(Delayed):
    """Scores that Bob lets dask compute, and that become a file in the process that asked.

    Parameters
    ----------
    parts
        Gives the parts of the score file.
    finish
        Makes one file of them.
    end
        Is called when that cannot be.
    """

    __slots__ = ("end", "finish")

    def __init__(self, parts: Delayed, finish: Callable, end: Callable) -> None:
        super().__init__(parts.key, parts.dask)
        self.finish, self.end = finish, end

    def compute(self, **options: Any) -> Any:
        """Compute the parts, and finish."""
        client = options.get("scheduler")
        try:
            if isinstance(client, Client):
                client.register_plugin(QuietWorker())
            parts = super().compute(**options)
        except BaseException as error:
            self.end()
            if isinstance(error, KilledWorker):
                raise SynthDistillError(
                    f"workers died while they embedded images, {error.args[0]} at last. Was there "
                    "too little memory? Take fewer workers, or smaller partitions with -s."
                ) from error
            raise
        return self.finish(parts)


class QuietWorker(WorkerPlugin):
    """Lets workers leave it to the process that asked to say what went wrong, and end at once."""

    name = "synthdistill-quiet"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Prepare a worker, in its main thread: what Bob imports cannot be imported in others."""
        logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
        # taking torch apart lasts seconds, after which the nanny would kill the worker
        atexit.register(os._exit, 0)


@functools.cache
def _close_at_exit(client: Client) -> None:
    """See to it that dask ends in order, without a word, when all is said."""

    def close() -> None:
        logging.disable(logging.CRITICAL)
        with contextlib.suppress(Exception):
            client.close()
            if client.cluster is not None:
                client.cluster.close()

    atexit.register(close)


def student_pipeline(
    path: Path | str | None = None, network: Network | None = None, **options: Any
) -> NetworkPipeline:
    """Make the pipeline of a student.

    Parameters
    ----------
    path
        A ``student.safetensors``, opened when it is needed; ``None``: the one named by
        ``bob config set bob.paper.ijcb2023_synthdistill.student PATH``.
    network
        What makes the network of a student that is no timm model: a class, a function, or
        ``"package.module:name"``.
    options
        ``mirror``, ``batch_size``, ``device``: see :py:class:`.embedding.EmbeddingTransformer`.
    """
    return NetworkPipeline(NetworkRecipe("student", path, network), **options)


def teacher_pipeline(path: Path | str | None = None, **options: Any) -> NetworkPipeline:
    """Make the pipeline of a teacher; as :py:func:`student_pipeline`, with the key ``.teacher``."""
    return NetworkPipeline(NetworkRecipe("teacher", path), **options)


def network_pipeline(network: Network, **options: Any) -> NetworkPipeline:
    """Make the pipeline of any torch module.

    Parameters
    ----------
    network
        What makes it, with its weights: ``"package.module:name"``, a class or a function without
        arguments. It takes faces ``[B, 3, 112, 112]``, RGB, in [-1, 1] and gives ``[B, D]``.
    options
        As of :py:func:`student_pipeline`.
    """
    return NetworkPipeline(NetworkRecipe("network", network), **options)
