"""Re-sampling strategies: where the second batch of an iteration comes from.

The paper's is :py:class:`DynamicSampling`; the others are its ablations. A strategy is any object
with the method ``resample`` of :py:class:`Sampling`: write your own in a config.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from ..files import SynthDistillError, nearest

Mapping = Callable[[torch.Tensor], torch.Tensor]
"""The generator's mapping network as strategies see it: z ``[b, z_dim]`` to w ``[b, w_dim]``."""

Normal = Callable[[int], torch.Tensor]
"""From a width to standard normal vectors ``[b, width]``, one an image."""


@dataclass(frozen=True)
class FreshBatch:
    """What is known of the fresh batch after its step.

    z ``[b, z_dim]``, w ``[b, w_dim]``, and the cosine of student and teacher embedding of each
    image from before the update, ``[b]``.
    """

    z: torch.Tensor
    w: torch.Tensor
    similarity: torch.Tensor


class Sampling(Protocol):
    """What every strategy does."""

    def resample(self, fresh: FreshBatch, mapping: Mapping, normal: Normal) -> torch.Tensor:
        """Choose the w of the re-sampled batch, ``[b, w_dim]``."""
        ...


@dataclass(frozen=True)
class DynamicSampling:
    """The paper's: w' = w + c · coefficient · N(0, I), c = (1 + cosine) / 2.

    Images that student and teacher agree on move far, hard ones stay near and are trained on
    again in a new variation. The coefficient is 1 in the paper.
    """

    coefficient: float = 1.0

    def resample(self, fresh: FreshBatch, mapping: Mapping, normal: Normal) -> torch.Tensor:
        """Move w by a random vector, farther where the cosine is large."""
        distance = (1 + fresh.similarity) / 2 * self.coefficient
        return fresh.w + distance[:, None] * normal(fresh.w.shape[1])


@dataclass(frozen=True)
class HardSampling:
    """The opposite reading of the idea: c = (1 - cosine) / 2, badly matched images move far."""

    coefficient: float = 1.0

    def resample(self, fresh: FreshBatch, mapping: Mapping, normal: Normal) -> torch.Tensor:
        """Move w by a random vector, farther where the cosine is small."""
        distance = (1 - fresh.similarity) / 2 * self.coefficient
        return fresh.w + distance[:, None] * normal(fresh.w.shape[1])


@dataclass(frozen=True)
class ZSpaceSampling:
    """Dynamic sampling before the mapping network: z' = z + c · coefficient · N(0, I)."""

    coefficient: float = 1.0

    def resample(self, fresh: FreshBatch, mapping: Mapping, normal: Normal) -> torch.Tensor:
        """Move z by a random vector, farther where the cosine is large, and map it."""
        distance = (1 + fresh.similarity) / 2 * self.coefficient
        return mapping(fresh.z + distance[:, None] * normal(fresh.z.shape[1]))


@dataclass(frozen=True)
class StaticSampling:
    """No re-sampling: the second batch is fresh, too."""

    def resample(self, fresh: FreshBatch, mapping: Mapping, normal: Normal) -> torch.Tensor:
        """Draw a new z and map it."""
        return mapping(normal(fresh.z.shape[1]))


@dataclass(frozen=True)
class NoSampling:
    """The same w again: only the generator's noise changes."""

    def resample(self, fresh: FreshBatch, mapping: Mapping, normal: Normal) -> torch.Tensor:
        """Give the fresh batch's w."""
        return fresh.w


STRATEGIES: dict[str, type] = {
    "dynamic": DynamicSampling,
    "static": StaticSampling,
    "none": NoSampling,
    "z-space": ZSpaceSampling,
    "hard": HardSampling,
}
"""The strategies by the names that configs and ``--sampling`` take."""


def create_sampling(sampling: str | Sampling, coefficient: float) -> Sampling:
    """Make a strategy by its name, or take the object that a config made."""
    if not isinstance(sampling, str) and callable(getattr(sampling, "resample", None)):
        return sampling
    kind = STRATEGIES.get(sampling) if isinstance(sampling, str) else None
    if kind is None:
        raise SynthDistillError(
            f"sampling must be one of {', '.join(STRATEGIES)} or an object with a method "
            f"`resample`, found {sampling!r}.{nearest(str(sampling), STRATEGIES)}"
        )
    return kind(coefficient) if dataclasses.fields(kind) else kind()
