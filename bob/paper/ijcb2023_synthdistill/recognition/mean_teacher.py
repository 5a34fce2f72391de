"""Several teachers as one: the mean of their normalised embeddings."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..files import SynthDistillError


class MeanTeacher(nn.Module):
    """Embed faces by the mean of the normalised embeddings of several frozen teachers.

    Each counts as much, whatever its own scale; where they agree the mean has a norm near 1.
    """

    def __init__(self, teachers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        sizes = {int(teacher.embedding_size) for teacher in teachers}  # type: ignore[arg-type]
        if len(sizes) != 1:
            raise SynthDistillError(
                f"teachers of one size are averaged, these give embeddings of {sorted(sizes)} "
                "elements: take some of the same size."
            )
        (self.embedding_size,) = sizes

    def set_precision(self, dtype: torch.dtype) -> None:
        """Compute in another type from now on; embeddings stay float32."""
        for teacher in self.teachers:
            teacher.set_precision(dtype)  # type: ignore[operator]

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed faces ``[B, 3, 112, 112]``, RGB, in [-1, 1]: ``[B, embedding_size]``, float32."""
        return torch.stack([F.normalize(teacher(faces)) for teacher in self.teachers]).mean(0)
