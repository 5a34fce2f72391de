"""Bob pipelines for our networks: embeddings, cosine scores, and a score file that is complete."""

import contextlib
import functools
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import dask
import dask.bag
import numpy as np
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import BioAlgCheckpointWrapper, CSVScoreWriter, PipelineSimple
from bob.pipelines import Sample, SampleSet, ToDaskBag
from distributed import Client
from sklearn.pipeline import Pipeline

from ..files import SynthDistillError
from ..recognition.own import Network
from . import progress
from .clients import DelayedScores, close_at_exit
from .embedding import CPU_BATCH, EmbeddingTransformer
from .network import NetworkRecipe
from .output import Output
from .terminal import exit_when_interrupted

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

        Bob looks through all of them for each probe, which takes longer than the comparisons.
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

    Beside the scores it writes what they are of: see :py:mod:`.provenance`. The options are those
    of :py:class:`.embedding.EmbeddingTransformer`.
    """

    def __init__(self, recipe: NetworkRecipe, **options: Any) -> None:
        self.embedding = EmbeddingTransformer(recipe, **options)
        super().__init__(Pipeline([("embedding", self.embedding)]), CosineScores())
        self._output: Output | None = None
        if "jobqueue" in getattr(signal.getsignal(signal.SIGINT), "__module__", ""):
            exit_when_interrupted()
        if _is_given_to_a_command():  # what is missing is said at once, before dask starts
            _end_quietly()
            if recipe.kind != "network":
                recipe.path()

    def __getstate__(self) -> dict[str, Any]:
        # workers write parts of the scores only
        return {**self.__dict__, "_output": None}

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
        references, probes = biometric_reference_samples, probe_samples
        _end_quietly()
        # Bob's own commands write below their output folder; other scripts anywhere
        parts = Path(self.score_writer.path)
        folder = parts.parent if parts.name == "tmp" else None
        expected = len(probes) * len(references)
        if not score_all_vs_all:
            expected = sum(len({str(other) for other in probe.references}) for probe in probes)
        database = getattr(references, "database", None)
        self._output = Output(folder, self.embedding, database, expected)
        self._suit_partitions(max(len(references), len(probes)))
        progress.begin(len(references) + len(probes))
        try:
            return super().__call__(
                background_model_samples, references, probes, score_all_vs_all, return_templates
            )
        except BaseException:
            self._output.end()
            raise

    def train_background_model(self, background_model_samples: Sequence) -> Any:  # noqa: ARG002
        """Train nothing: networks come trained (Bob would warn of it)."""
        return self.transformer

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
        assert self._output is not None, "Bob calls the pipeline first"  # noqa: S101
        headers = 1 if isinstance(self.score_writer, CSVScoreWriter) else 0
        finish = functools.partial(self._output.finish, path=Path(filename), headers=headers)
        if isinstance(score_paths, dask.bag.Bag):
            return DelayedScores(dask.delayed(list)(score_paths), finish, self._output.end)
        return finish(score_paths)


def _is_given_to_a_command() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and any(p.name == "pipeline" for p in context.command.params)


def _end_quietly() -> None:
    with contextlib.suppress(ValueError):  # there is no client
        close_at_exit(Client.current())


def student_pipeline(
    path: Path | str | None = None, network: Network | None = None, **options: Any
) -> NetworkPipeline:
    """Make the pipeline of a student.

    Without a ``path`` it is the one named by ``bob config set
    bob.paper.ijcb2023_synthdistill.student PATH``. ``network`` makes a student that is no timm
    model: a class, a function, or ``"package.module:name"``. ``options`` are those of
    :py:class:`.embedding.EmbeddingTransformer`.
    """
    return NetworkPipeline(NetworkRecipe("student", path, network), **options)


def teacher_pipeline(path: Path | str | None = None, **options: Any) -> NetworkPipeline:
    """Make the pipeline of a teacher; as :py:func:`student_pipeline`, with the key ``.teacher``."""
    return NetworkPipeline(NetworkRecipe("teacher", path), **options)


def onnx_pipeline(path: Path | str | None = None, **options: Any) -> NetworkPipeline:
    """Make the pipeline of an ONNX file; as :py:func:`student_pipeline`, with the key ``.onnx``."""
    return NetworkPipeline(NetworkRecipe("onnx", path), **options)


def network_pipeline(network: Network, **options: Any) -> NetworkPipeline:
    """Make the pipeline of any torch module, with the options of :py:func:`student_pipeline`.

    ``network`` makes it, with its weights: ``"package.module:name"``, a class or a function without
    arguments. It takes faces ``[B, 3, 112, 112]``, RGB, in [-1, 1] and gives ``[B, D]``.
    """
    return NetworkPipeline(NetworkRecipe("network", network), **options)
