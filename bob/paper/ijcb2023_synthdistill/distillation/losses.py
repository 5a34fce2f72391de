"""What the student is asked to match of the teacher's embedding."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..files import SynthDistillError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From student and teacher embeddings ``[b, d]`` to a scalar, the mean over the batch."""


@dataclass(frozen=True)
class EmbeddingLoss:
    """Weighted sum of the mean squared error of the raw embeddings and of 1 - cosine.

    The paper's loss is ``mse`` with weight 1: the mean over all ``b x d`` elements, not normalised.
    """

    mse: float = 1.0
    cosine: float = 0.0

    def __post_init__(self) -> None:
        """Refuse weights that make no loss."""
        if min(self.mse, self.cosine) < 0 or not 0 < self.mse + self.cosine < float("inf"):
            raise ValueError("weights of a loss are numbers of at least 0, not all of them 0")

    def __call__(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Compute the loss of student embeddings ``[b, d]`` against the teacher's."""
        loss = student.new_zeros(())
        if self.mse:
            loss = loss + self.mse * F.mse_loss(student, teacher)
        if self.cosine:
            loss = loss + self.cosine * (1 - F.cosine_similarity(student, teacher)).mean()
        return loss


def create_loss(loss: str | Mapping[str, float] | Loss) -> Loss:
    """Make a loss from what a config or ``--loss`` says.

    That is ``"mse"``, ``"cosine"``, weights as ``{"mse": 1, "cosine": 10}`` or
    ``"mse=1,cosine=10"``, or a callable from two ``[b, d]`` tensors to a scalar that is a mean over
    the batch.
    """
    if callable(loss):
        return _UserLoss(loss)
    try:
        weights = loss
        if isinstance(loss, str):
            parts = [part.partition("=") for part in loss.split(",")]
            weights = {name.strip(): float(weight) if sign else 1.0 for name, sign, weight in parts}
        return EmbeddingLoss(**{"mse": 0.0, "cosine": 0.0, **weights})  # type: ignore[dict-item]
    except (TypeError, ValueError) as error:
        raise SynthDistillError(
            "loss must be 'mse', 'cosine', weights such as 'mse=1,cosine=10' or a function of two "
            f"batches of embeddings, found {loss!r}"
        ) from error


@dataclass(frozen=True)
class _UserLoss:
    """A function of the user's, whose mistakes are told in words."""

    loss: Loss

    def __call__(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        try:
            found = self.loss(student, teacher)
        except TypeError as error:
            raise SynthDistillError(
                f"the loss {self.loss!r} must take two batches of embeddings [b, d], the student's "
                f"and the teacher's: {error}"
            ) from error
        if not isinstance(found, torch.Tensor) or found.ndim or not found.requires_grad:
            what = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise SynthDistillError(
                f"the loss {self.loss!r} must give a scalar tensor that depends on the student's "
                f"embeddings, found {what}"
            )
        return found
