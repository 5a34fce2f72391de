"""Embed images in batches of one fixed size, several at a time, while the next are decoded.

Scores have to be the same to the last bit however the images are split over workers. Convolutions
and matrix products round differently for another batch size or number of threads, not for other
neighbours in the batch. So every batch has the same size (the last is filled up) and is computed by
one thread: cores are used by computing several batches at once, which is also faster than several
threads in one small network.
"""

import dataclasses
import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from .. import faces
from ..files import SynthDistillError
from .network import NetworkRecipe

CPU_BATCH = 16
"""Images in a batch on the CPU: it stays in the cache. Measured with tinynet_a, 112x112, channels
last, one thread: 3.1 ms an image with 16, 4.8 with 8, 4.2 with 32."""

CUDA_BATCH = 256
"""Images in a batch on a CUDA device."""


@dataclasses.dataclass(frozen=True)
class Embedder:
    """What makes an embedding: network, mirror-and-sum, batch size, device.

    Parameters
    ----------
    recipe
        The network.
    mirror
        Whether an embedding is f(image) + f(mirrored image), neither normalised, as the field
        evaluates, instead of f(image).
    batch_size
        Images, mirrored ones included, that the network gets at a time; ``None``:
        :py:data:`CPU_BATCH` or :py:data:`CUDA_BATCH`. It bounds the memory. Scores of different
        batch sizes differ in the last bits.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...; ``None``: CUDA where there is a device.
    """

    recipe: NetworkRecipe
    mirror: bool = True
    batch_size: int | None = None
    device: str | None = None

    def where(self) -> str:
        """Give the device's name, decided on the machine that computes.

        Raises
        ------
        SynthDistillError
            CUDA is asked for, and there is none.
        """
        available = torch.cuda.is_available()
        if self.device and self.device.startswith("cuda") and not available:
            raise SynthDistillError(
                f"expected a CUDA device ({self.device}), found none that torch {torch.__version__}"
                " can use. Leave the device out to compute on the CPU."
            )
        return self.device or ("cuda" if available else "cpu")

    def window(self) -> int:
        """Give the number of different images in a batch."""
        size = self.batch_size or (CPU_BATCH if self.where() == "cpu" else CUDA_BATCH)
        return max(1, size // 2 if self.mirror else size)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed at most :py:meth:`window` aligned faces, in a thread of the pool.

        Parameters
        ----------
        images
            ``[n, 3, 112, 112]``, RGB, [0, 255], uint8 or float: Bob's convention.

        Returns
        -------
            ``[n, D]``, float32.

        Raises
        ------
        SynthDistillError
            The network cannot be loaded, or gives NaN, infinite or all-zero embeddings.
        """
        device = self.where()
        network = self.recipe.load(device)
        # numpy arrays need not be writable or contiguous, torch wants both
        batch = torch.from_numpy(np.array(images)).to(device)
        if len(batch) < self.window():
            filling = batch.new_zeros((self.window() - len(batch), *batch.shape[1:]))
            batch = torch.cat([batch, filling])
        with _pool(device).computing, torch.inference_mode():
            inputs = faces.from_bob(batch)
            if self.mirror:
                inputs = torch.cat([inputs, inputs.flip(-1)])
            output = network(inputs.contiguous(memory_format=torch.channels_last)).float()
            if self.mirror:
                first, second = output.chunk(2)
                output = first + second
            embeddings = output[: len(images)].cpu().numpy()
        norms = np.linalg.norm(embeddings, axis=1)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise SynthDistillError(
                "expected finite embeddings other than zero, found one of length "
                f"{norms[np.argmin(norms)]} from the {self.recipe}: its training diverged, or its "
                "file is damaged. Train it again, or evaluate an earlier copy."
            )
        return embeddings


class WindowedEmbeddings:
    """Embeddings of a list of images, computed in windows when they are first asked for.

    Asking for one starts its window and, in other threads, the windows after it. Images are
    decoded, embedded and let go window by window: memory does not grow with the list, apart from
    the embeddings themselves.

    Parameters
    ----------
    embedder
        Makes the embeddings.
    loaders
        One function for each image that gives the aligned face, ``[3, 112, 112]``.
    """

    def __init__(self, embedder: Embedder, loaders: Sequence[Callable[[], np.ndarray]]):
        self.embedder = embedder
        self.loaders = loaders
        self._window = 0
        self._futures: dict[int, Future] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.loaders)

    def __getstate__(self) -> dict:
        # a worker that gets this object computes what it needs itself
        return {"embedder": self.embedder, "loaders": self.loaders}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __getitem__(self, index: int) -> np.ndarray:
        """Give one embedding, ``[D]``, float32.

        Raises
        ------
        SynthDistillError
            An image cannot be read: the message names it and says how many more there are.
        """
        with self._lock:
            self._window = self._window or self.embedder.window()
            wanted = index // self._window
            pool = _pool(self.embedder.where())
            last = (len(self) - 1) // self._window
            for window in range(wanted, min(wanted + pool.threads, last) + 1):
                if window not in self._futures:
                    self._futures[window] = pool.executor.submit(self._compute, window)
            future = self._futures[wanted]
        try:
            return future.result()[index % self._window]
        except _UnreadableError as error:
            for later in self._futures.values():
                later.cancel()
            if isinstance(error.__cause__, SynthDistillError):
                raise error.__cause__ from None  # our databases have said all there is to say
            raise self._unreadable(wanted * self._window) from error.__cause__

    def _compute(self, window: int) -> np.ndarray:
        """Decode and embed one window."""
        images = []
        for load in self.loaders[window * self._window : (window + 1) * self._window]:
            try:
                images.append(load())
            except Exception as error:
                raise _UnreadableError from error
        return self.embedder(np.stack(images))

    def _unreadable(self, start: int) -> SynthDistillError:
        """Read everything from ``start`` on and say which images cannot be read."""
        problems = []
        for load in self.loaders[start:]:
            try:
                load()
            except Exception as error:
                problems.append(f"{type(error).__name__}: {error}")
        return SynthDistillError(
            f"{len(problems)} of {len(self)} images cannot be read: "
            + "; ".join(problems[:5])
            + ("; ..." if len(problems) > 5 else "")
            + ". Put them right, and run the same command again."
        )


class _UnreadableError(Exception):
    """An image could not be loaded (the cause says why)."""


@dataclasses.dataclass(frozen=True)
class _Pool:
    """Threads that decode and embed windows, one pool in a process for each device."""

    executor: ThreadPoolExecutor
    computing: threading.Semaphore
    threads: int


_pools: dict[tuple[str, int], _Pool] = {}
_pools_lock = threading.Lock()


def _pool(device: str) -> _Pool:
    """Give the pool of a device in this process; the first call makes it."""
    with _pools_lock:
        # a fork has a copy of this dictionary, but none of its parent's threads
        key = device, os.getpid()
        if key not in _pools:
            cores = _cores()
            if device == "cpu":
                # two threads more than compute: they decode what comes next
                initializer = functools.partial(torch.set_num_threads, 1)
                computing, threads = cores, cores + 2
            else:
                initializer, computing, threads = None, 1, max(4, cores)
            executor = ThreadPoolExecutor(threads, "embed", initializer)
            _pools[key] = _Pool(executor, threading.Semaphore(computing), threads)
        return _pools[key]


def _cores() -> int:
    """Count the cores that this process may use.

    Workers started by ``distributed`` have ``OMP_NUM_THREADS=1``; those of dask's ``processes``
    scheduler have nothing, and as there is one of them for each core, each takes one.
    """
    if multiprocessing.parent_process() is not None and "OMP_NUM_THREADS" not in os.environ:
        return 1
    return torch.get_num_threads()
