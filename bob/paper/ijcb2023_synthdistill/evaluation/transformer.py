"""The scikit-learn transformer that puts any of our networks into Bob's pipelines."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from bob.pipelines import DelayedSample, Sample, SampleSet
from sklearn.base import BaseEstimator, TransformerMixin

from .alignment import align, aligned_face
from .embedding import Embedder, WindowedEmbeddings
from .network import NetworkRecipe


class EmbeddingTransformer(TransformerMixin, BaseEstimator):
    """Turn images into embeddings; see :py:class:`.embedding.Embedder` for the parameters.

    It takes Bob's samples and sample sets itself (a ``SampleWrapper`` would feed the network with
    one image at a time) and gives delayed samples: the embedding of the first one asked for comes
    with those of its neighbours, and none is computed whose feature file exists.

    Pickled, it is a few hundred bytes: each process loads the network once, when it needs it.

    Parameters
    ----------
    recipe
        The network.
    mirror
        Whether to add the embedding of the mirrored image.
    batch_size
        Images, mirrored ones included, in a batch.
    device
        Where to compute.
    """

    def __init__(
        self,
        recipe: NetworkRecipe,
        mirror: bool = True,
        batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        self.recipe = recipe
        self.mirror = mirror
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> "EmbeddingTransformer":  # noqa: ARG002, N803
        """Do nothing: networks come trained."""
        return self

    def transform(self, X: Sequence | np.ndarray) -> Any:  # noqa: N803
        """Embed images.

        Parameters
        ----------
        X
            Bob's sample sets, samples, or arrays ``[3, 112, 112]`` (a sequence, or one array
            ``[N, 3, 112, 112]``), RGB, [0, 255].

        Returns
        -------
            The same: sample sets or samples with delayed embeddings ``[D]`` float32 as data, or an
            array ``[N, D]``.

        Raises
        ------
        SynthDistillError
            The network or an image is missing or wrong (with samples: when an embedding is asked
            for).
        """
        if len(X) and isinstance(X[0], SampleSet):
            embedded = iter(self._delayed([sample for samples in X for sample in samples.samples]))
            return [
                SampleSet([next(embedded) for _ in samples.samples], parent=samples)
                for samples in X
            ]
        if len(X) and isinstance(X[0], Sample):
            return self._delayed(list(X))
        loaders = [functools.partial(align, image, None, f"image {i}") for i, image in enumerate(X)]
        embeddings = self._embeddings(loaders)
        return np.stack([embeddings[i] for i in range(len(X))]) if len(X) else np.empty((0, 0))

    def _delayed(self, samples: Sequence[Sample]) -> list[DelayedSample]:
        embeddings = self._embeddings([functools.partial(aligned_face, s) for s in samples])
        return [
            DelayedSample(functools.partial(embeddings.__getitem__, i), parent=sample)
            for i, sample in enumerate(samples)
        ]

    def _embeddings(self, loaders: Sequence) -> WindowedEmbeddings:
        embedder = Embedder(self.recipe, self.mirror, self.batch_size, self.device)
        return WindowedEmbeddings(embedder, loaders)

    def _more_tags(self) -> dict[str, Any]:
        # feature files are the next step's (see pipeline.py): Bob's checkpoint wrapper hands sample
        # sets over one by one to a step with files, and all at once to a step without
        return {"requires_fit": False, "bob_checkpoint_features": False, "stateless": True}
