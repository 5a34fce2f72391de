"""Random numbers as functions of (seed, stream, iteration, image): no state to save or to lose.

A run that is resumed, one that is divided over several processes and one that takes its batch in
small pieces all draw the same numbers, because no number depends on what was drawn before it.
"""

import zlib
from collections.abc import Callable

import numpy
import torch

NOISE_BLOCK = 16
"""Images that share one random generator for the noise maps, elsewhere than on CUDA.

A process that needs some images of a block draws the whole block.
"""

Noise = Callable[[int, int], torch.Tensor]
"""From batch and resolution to noise maps ``[batch, 1, resolution, resolution]``."""


def _seed(*key: int | str) -> int:
    """Mix a key into 64 well-distributed bits."""
    entropy = [zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key]
    return int(numpy.random.SeedSequence(entropy).generate_state(1, numpy.uint64)[0])


class RandomNumbers:
    """The random numbers of one iteration, for the rows of the batch that are asked for.

    Latents are drawn on the CPU, the same for every device; noise maps on the device itself, so
    they differ between kinds of device.

    Parameters
    ----------
    seed
        The run's seed.
    stream
        What the numbers are for, such as ``"train"`` or ``"validation 3"``.
    iteration
        The iteration's number in the stream, from 0.
    batch_size
        Images of the whole batch, over all processes.
    device
        Where the numbers are needed.
    """

    def __init__(
        self, seed: int, stream: str, iteration: int, batch_size: int, device: torch.device | str
    ) -> None:
        self.key = (seed, stream, iteration)
        self.batch_size = batch_size
        self.device = torch.device(device)

    def normal(self, name: str, width: int, rows: range) -> torch.Tensor:
        """Draw standard normal vectors ``[len(rows), width]``, float32.

        ``rows`` are those of the whole batch that are wanted; different names are independent.
        """
        return self._draw("standard_normal", name, width, rows)

    def uniform(self, name: str, width: int, rows: range) -> torch.Tensor:
        """Draw numbers ``[len(rows), width]`` from [0, 1), as :py:meth:`normal` does."""
        return self._draw("random", name, width, rows)

    def _draw(self, distribution: str, name: str, width: int, rows: range) -> torch.Tensor:
        generator = numpy.random.Generator(numpy.random.Philox(_seed(*self.key, name)))
        draw = getattr(generator, distribution)
        batch = draw((self.batch_size, width), dtype=numpy.float32)
        vectors = torch.from_numpy(batch[rows.start : rows.stop])
        if self.device.type == "cuda":
            # from here a copy waits for nothing: this process is drawing the next iteration's
            # numbers while the device computes
            vectors = vectors.pin_memory()
        return vectors.to(self.device, non_blocking=True)

    def noise(self, name: str, rows: range, pixels: int = 0) -> Noise:
        """Make the source of a generator network's noise maps, for one call of it.

        Parameters
        ----------
        name
            Which call it is: ``"fresh"`` or ``"resampled"``.
        rows
            The rows of the whole batch that the call generates.
        pixels
            Of all maps of an image, if known: then CUDA draws them at once.

        Returns
        -------
            A callable to be called once for each convolution, in order.
        """
        if pixels and self.device.type == "cuda":
            return cut(self.noise_values(name, pixels, rows))
        size = min(NOISE_BLOCK, self.batch_size)
        blocks = range(rows.start // size, -(-rows.stop // size))
        generators = [
            torch.Generator(self.device).manual_seed(_seed(*self.key, name, block))
            for block in blocks
        ]
        first = rows.start - blocks.start * size

        def draw(batch: int, resolution: int) -> torch.Tensor:
            shape = (size, 1, resolution, resolution)
            maps = [torch.randn(shape, generator=g, device=self.device) for g in generators]
            whole = maps[0] if len(maps) == 1 else torch.cat(maps)
            return whole[first : first + batch]

        return draw

    def noise_values(self, name: str, pixels: int, rows: range) -> torch.Tensor:
        """Draw standard normal ``[len(rows), pixels]`` in one launch: the whole batch's, for all.

        Every process draws as much, which costs a GPU less than it costs to launch the pieces.
        """
        generator = torch.Generator(self.device).manual_seed(_seed(*self.key, name))
        shape = (self.batch_size, pixels)
        return torch.randn(shape, generator=generator, device=self.device)[rows.start : rows.stop]

    def seed_global(self, rank: int) -> None:
        """Seed torch's global generators, which a student's dropout layers use."""
        torch.manual_seed(_seed(*self.key, "global", rank))


def cut(values: torch.Tensor) -> Noise:
    """Cut noise ``[b, pixels]`` into one map after the other."""
    used = 0

    def draw(batch: int, resolution: int) -> torch.Tensor:
        nonlocal used
        first, used = used, used + resolution**2
        return values[:, first:used].view(batch, 1, resolution, resolution)

    return draw
