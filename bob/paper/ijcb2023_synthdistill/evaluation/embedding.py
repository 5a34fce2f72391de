"""Embed images in batches of one fixed size, several at a time, where the images are.

Scores have to be the same to the last bit however the images are split over workers. Convolutions
and matrix products round differently for another batch size or number of threads, not for other
neighbours in the batch. So every batch has the same size (the last is filled up) and is computed by
one thread: cores are used by computing several batches at once, which is also faster than several
threads in one small network.
"""

import functools
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from bob.pipelines import Sample, SampleSet
from sklearn.base import BaseEstimator, TransformerMixin

from .. import faces
from ..files import SynthDistillError
from . import progress
from .alignment import align
from .network import NetworkRecipe

CPU_BATCH = 16
"""Images in a batch on the CPU: it stays in the cache. Measured with tinynet_a, 112x112, channels
last, one thread: 3.1 ms an image with 16, 4.8 with 8, 4.2 with 32."""

CUDA_BATCH = 256
"""Images in a batch on a CUDA device."""


class EmbeddingTransformer(TransformerMixin, BaseEstimator):
    """Turn Bob's samples into embeddings. Pickled, it is a few hundred bytes.

    It takes samples and sample sets itself: a ``SampleWrapper`` would feed the network with one
    image at a time. Images are decoded, embedded and let go batch by batch.

    With ``mirror`` an embedding is f(image) + f(mirrored image), neither normalised, as the field
    evaluates. ``batch_size`` are the images, mirrored ones included, that the network gets at a
    time (by default :py:data:`CPU_BATCH` or :py:data:`CUDA_BATCH`): it bounds the memory, and
    changes the last bits of scores. ``device`` is CUDA where there is one, if it is not said.
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
        """Embed Bob's sample sets, samples, or arrays ``[3, 112, 112]``, RGB, [0, 255].

        Samples may have ``annotations``: see :py:func:`.alignment.align`; those that are
        ``unusable`` get NaN. Gives the same with embeddings ``[D]``, float32, as data; of arrays
        one array ``[N, D]``.
        """
        if len(X) and isinstance(X[0], SampleSet):
            embedded = iter(self.transform([sample for samples in X for sample in samples.samples]))
            return [
                SampleSet([next(embedded) for _ in samples.samples], parent=samples)
                for samples in X
            ]
        if len(X) and isinstance(X[0], Sample):
            return [Sample(e, parent=s) for e, s in zip(self._embed(list(X)), X, strict=True)]
        return self._embed([Sample(image, key=f"image {i}") for i, image in enumerate(X)])

    def _embed(self, samples: Sequence[Sample]) -> np.ndarray:
        """Embed the faces of samples; what is unusable gets NaN."""
        device = self._where()
        size = self.batch_size or (CPU_BATCH if device == "cpu" else CUDA_BATCH)
        window = max(1, size // 2 if self.mirror else size)
        pool, computing = _pool(device, os.getpid())
        problems: list[str] = []
        black = np.zeros((3, faces.FACE_SIZE, faces.FACE_SIZE), np.uint8)

        def embed(start: int) -> np.ndarray:
            images: list[np.ndarray | None] = []
            for sample in samples[start : start + window]:
                try:
                    images.append(_aligned(sample))
                except SynthDistillError:
                    raise  # it says all there is to say
                except Exception as error:
                    problems.append(f"{type(error).__name__}: {error}")
            if problems:  # from now on they are only counted
                return np.empty((0, 0), np.float32)
            batch = np.stack([black if image is None else image for image in images])
            with computing:
                embeddings = self._compute(batch, window, device)
            embeddings[[image is None for image in images]] = np.nan
            return embeddings

        embeddings = []
        for found in pool.map(embed, range(0, len(samples), window)):
            embeddings.append(found)
            progress.tell(len(found))
        if problems:
            raise SynthDistillError(
                f"{len(problems)} of {len(samples)} images cannot be read: "
                f"{'; '.join(problems[:5])}{'; ...' if len(problems) > 5 else ''}. Put them right, "
                "and run the same command again."
            )
        return np.concatenate(embeddings) if embeddings else np.empty((0, 0), np.float32)

    def _where(self) -> str:
        """Give the device's name, decided on the machine that computes."""
        available = torch.cuda.is_available()
        if self.device and self.device.startswith("cuda") and not available:
            raise SynthDistillError(
                f"torch has no CUDA device for {self.device!r}: leave it out to compute on the CPU."
            )
        return self.device or ("cuda" if available else "cpu")

    @torch.inference_mode()
    def _compute(self, images: np.ndarray, window: int, device: str) -> np.ndarray:
        """Embed at most ``window`` faces ``[n, 3, 112, 112]``, in a thread of the pool."""
        network = self.recipe.load(device)
        batch = np.zeros((window, *images.shape[1:]), images.dtype)
        batch[: len(images)] = images
        inputs = faces.from_uint8(torch.from_numpy(batch).to(device))
        if self.mirror:
            inputs = torch.cat([inputs, inputs.flip(-1)])
        parts = network(inputs).float().split(window)
        output = parts[0] + parts[1] if self.mirror else parts[0]
        embeddings = output[: len(images)].cpu().numpy()
        norms = np.linalg.norm(embeddings, axis=1)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise SynthDistillError(
                "expected finite embeddings other than zero, found one of length "
                f"{norms[np.argmin(norms)]} from {self.recipe}: did its training diverge?"
            )
        return embeddings

    def _more_tags(self) -> dict[str, Any]:
        # Bob knows its feature files by the image's key alone: neither another network nor another
        # image of that name would be noticed
        return {"requires_fit": False, "bob_checkpoint_features": False, "stateless": True}


def _aligned(sample: Any) -> np.ndarray | None:
    if getattr(sample, "unusable", None):
        return None
    name = getattr(sample, "key", None) or "a sample without a key"
    return align(sample.data, getattr(sample, "annotations", None), name)


@functools.cache
def _pool(device: str, process: int) -> tuple[ThreadPoolExecutor, threading.Semaphore]:  # noqa: ARG001
    """Give the threads of this process that decode and embed, and how many may embed at once."""
    if device != "cpu":
        return ThreadPoolExecutor(max(4, _cores()), "embed"), threading.Semaphore(1)
    # two threads more than compute: they decode what comes next
    one_thread = functools.partial(torch.set_num_threads, 1)
    return ThreadPoolExecutor(_cores() + 2, "embed", one_thread), threading.Semaphore(_cores())


def _cores() -> int:
    """Count the cores that this process may use.

    Workers started by ``distributed`` have ``OMP_NUM_THREADS=1``; those of dask's ``processes``
    scheduler have nothing, and as there is one of them for each core, each takes one.
    """
    if multiprocessing.parent_process() is not None and "OMP_NUM_THREADS" not in os.environ:
        return 1
    return torch.get_num_threads()
