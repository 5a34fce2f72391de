"""Bob pipelines for our networks: embedding, optional feature files, cosine scores."""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bob.bio.base.pipelines import CSVScoreWriter, PipelineSimple
from bob.pipelines import ToDaskBag
from sklearn.pipeline import Pipeline

from ..files import SynthDistillError, atomic_write
from .embedding import CPU_BATCH
from .feature_files import CosineScores, FeatureFilesStep
from .network import NetworkRecipe
from .transformer import EmbeddingTransformer

LARGEST_PARTITION = 128
"""Sample sets in a task of dask, unless the user says how many. Where nobody says, dask makes 300
of 1,200 sets: four images in each, embedded by a batch of which half is filling."""

FEWEST_PARTITIONS = 8
"""Tasks to divide among the workers, where there are enough images to fill their batches."""


class NetworkPipeline(PipelineSimple):
    """Bob's simple pipeline, with a score file that is complete or not there at all.

    Parameters
    ----------
    recipe
        The network.
    mirror, batch_size, device
        As in :py:class:`.embedding.Embedder`.
    """

    def __init__(
        self,
        recipe: NetworkRecipe,
        mirror: bool = True,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        embedding = EmbeddingTransformer(recipe, mirror, batch_size, device)
        steps = [("network", embedding), ("embedding", FeatureFilesStep(recipe, mirror))]
        super().__init__(Pipeline(steps), CosineScores(recipe, mirror))
        self._expected: int | None = None

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
            score_paths = _one_task_a_partition(score_paths)
            return dask.delayed(assemble)(dask.delayed(list)(score_paths))
        return assemble(score_paths)


def _one_task_a_partition(bag: Any) -> Any:
    """Let each partition go from its images to its templates in one task.

    Bob's graph has a task for each step, and each may run on another worker than the one before.
    Samples would travel whose embeddings are not computed yet, one by one, each with all images of
    its partition, and would compute everything once more for each of them.
    """
    import dask
    from dask.optimization import cull, inline

    keys = bag.__dask_keys__()
    graph, dependencies = cull(dask.utils.ensure_dict(bag.dask), keys)
    # estimators and lists of samples become part of the tasks, which then form lines to be joined
    graph = inline(graph, dependencies=dependencies)
    (joined,) = dask.optimize(type(bag)(graph, bag.name, bag.npartitions))
    return joined


def _assemble(parts: Iterable[str], path: str, headers: int, expected: int | None) -> list[str]:
    """Write the parts of a score file as one, all of it or nothing.

    Raises
    ------
    SynthDistillError
        There are not as many scores as the database asks for.
    """
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
    path: Path | str | None = None,
    mirror: bool = True,
    batch_size: int | None = None,
    device: str | None = None,
) -> NetworkPipeline:
    """Make the pipeline of a student.

    Parameters
    ----------
    path
        A ``student.safetensors``, opened when it is needed; ``None``: the one named by
        ``bob config set bob.paper.ijcb2023_synthdistill.student PATH``.
    mirror, batch_size, device
        As in :py:class:`.embedding.Embedder`.
    """
    return NetworkPipeline(NetworkRecipe("student", path), mirror, batch_size, device)


def teacher_pipeline(
    path: Path | str | None = None,
    mirror: bool = True,
    batch_size: int | None = None,
    device: str | None = None,
) -> NetworkPipeline:
    """Make the pipeline of a teacher.

    Parameters
    ----------
    path
        The teacher's file, opened when it is needed; ``None``: the one named by
        ``bob config set bob.paper.ijcb2023_synthdistill.teacher PATH``.
    mirror, batch_size, device
        As in :py:class:`.embedding.Embedder`.
    """
    return NetworkPipeline(NetworkRecipe("teacher", path), mirror, batch_size, device)


def network_pipeline(
    name: str, mirror: bool = True, batch_size: int | None = None, device: str | None = None
) -> NetworkPipeline:
    """Make the pipeline of any torch module.

    Parameters
    ----------
    name
        ``"package.module:name"`` of the module, or of a function without arguments that returns
        it. It takes faces ``[B, 3, 112, 112]``, RGB, in [-1, 1] and gives ``[B, D]``.
    mirror, batch_size, device
        As in :py:class:`.embedding.Embedder`.
    """
    return NetworkPipeline(NetworkRecipe("network", name), mirror, batch_size, device)
