"""Several teachers as one: the mean or the concatenation of their normalised embeddings."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..files import SynthDistillError


class Ensemble(nn.Module):
    """Embed faces by several frozen teachers, each of which counts as much, whatever its scale.

    A mean has a norm near 1 where they agree. The cosine of two concatenations is the mean of the
    teachers' cosines.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        combine: Literal["mean", "concatenation"] = "mean",
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(teachers)
        self.combine = combine
        sizes = [int(teacher.embedding_size) for teacher in teachers]  # type: ignore[arg-type]
        if not sizes or combine not in ("mean", "concatenation"):
            raise SynthDistillError(
                "expected some teachers, and 'mean' or 'concatenation' of their embeddings; found "
                f"{len(sizes)} and {combine!r}"
            )
        if combine == "mean" and len(set(sizes)) > 1:
            raise SynthDistillError(
                f"teachers of one size are averaged, these give embeddings of {sizes} elements: "
                'take some of the same size, or create_teacher(..., combine="concatenation").'
            )
        self.embedding_size = sizes[0] if combine == "mean" else sum(sizes)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Embed faces ``[B, 3, 112, 112]``, RGB, in [-1, 1]: ``[B, embedding_size]``, float32."""
        embeddings = [F.normalize(teacher(faces)) for teacher in self.members]
        if self.combine == "concatenation":
            return torch.cat(embeddings, dim=1)
        return torch.stack(embeddings).mean(0)
