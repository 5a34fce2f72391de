"""Bob pipelines for our networks: embeddings, cosine scores, and a score file that is complete."""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import BioAlgCheckpointWrapper, CSVScoreWriter, PipelineSimple
from bob.pipelines import Sample, SampleSet, ToDaskBag
from sklearn.pipeline import Pipeline

from ..files import SynthDistillError, atomic_write
from ..recognition.own import Network
from .embedding import CPU_BATCH, EmbeddingTransformer
from .network import NetworkRecipe

LARGEST_PARTITION = 128
"""Sample sets in a task of dask, unless the user says how many. Where nobody says, dask makes 300
of 1,200 sets: four images in each, embedded by a batch of which half is filling."""

FEWEST_PARTITIONS = 8
"""Tasks to divide among the workers, where there are enough images to fill their batches."""


class CosineScores(Distance):
    """Bob's ``Distance`` with the cosine (score = cosine - 1), quicker where pairs are listed."""

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

    The parameters are those of :py:class:`.embedding.EmbeddingTransformer`.
    """

    def __init__(
        self,
        recipe: NetworkRecipe,
        mirror: bool = True,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        embedding = EmbeddingTransformer(recipe, mirror, batch_size, device)
        super().__init__(Pipeline([("embedding", embedding)]), CosineScores())
        self._expected: int | None = None

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
        self._expected = (
            len(probe_samples) * len(biometric_reference_samples)
            if score_all_vs_all
            else sum(len({str(other) for other in probe.references}) for probe in probe_samples)
        )
        self._suit_partitions(max(len(biometric_reference_samples), len(probe_samples)))
        return super().__call__(
            background_model_samples,
            biometric_reference_samples,
            probe_samples,
            score_all_vs_all,
            return_templates,
        )

    def _suit_partitions(self, sample_sets: int) -> None:
        """Set the size of dask's partitions where neither the user nor Bob has chosen one."""
        first = self.transformer.steps[0][1]
        if not isinstance(first, ToDaskBag) or first.partition_size or first.npartitions:
            return
        wanted = min(LARGEST_PARTITION, math.ceil(sample_sets / FEWEST_PARTITIONS))
        # whole batches: the last of each partition is filled up, and computed in full
        first.partition_size = CPU_BATCH * max(1, math.ceil(wanted / CPU_BATCH))

    def post_process(self, score_paths: Any, filename: str) -> Any:
        """Put the parts of the score file together (Bob calls it; with dask it is delayed)."""
        import dask.bag

        headers = 1 if isinstance(self.score_writer, CSVScoreWriter) else 0
        assemble = functools.partial(
            _assemble, path=filename, headers=headers, expected=self._expected
        )
        if isinstance(score_paths, dask.bag.Bag):
            return dask.delayed(assemble)(dask.delayed(list)(score_paths))
        return assemble(score_paths)


def _assemble(parts: Iterable[str], path: str, headers: int, expected: int | None) -> list[str]:
    """Write the parts of a score file as one, all of it or nothing."""
    files, rows = [Path(part) for part in parts], 0
    with atomic_write(path) as temporary:
        with temporary.open("w", newline="") as whole:
            for number, file in enumerate(files):
                with file.open(newline="") as part:
                    head = list(itertools.islice(part, headers))
                    whole.writelines(head if number == 0 else [])
                    for line in part:
                        whole.write(line)
                        rows += 1
        if expected is not None and rows != expected:
            raise SynthDistillError(
                f"expected {expected:,} scores, found {rows:,}: {path} is not written. Are all "
                "references of the database's probes among its references, each once?"
            )
    for file in files:
        file.unlink(missing_ok=True)
    return [str(path)]


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
