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

    Parameters
    ----------
    mse
        Weight of the mean squared error over all ``b x d`` elements, not normalised (the paper's
        loss, weight 1).
    cosine
        Weight of the mean of 1 - cosine.
    """

    mse: float = 1.0
    cosine: float = 0.0

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

    Parameters
    ----------
    loss
        ``"mse"``, ``"cosine"``, weights as ``{"mse": 1, "cosine": 10}`` or ``"mse=1,cosine=10"``,
        or a callable of your own from two ``[b, d]`` tensors to a scalar that is a mean over the
        batch.

    Returns
    -------
        The loss.

    Raises
    ------
    SynthDistillError
        A name is unknown or a weight is not a number of at least 0.
    """
    if isinstance(loss, str):
        parts = [part.partition("=") for part in loss.split(",")]
        weights: Mapping[str, object] = {
            name.strip(): weight if sign else 1.0 for name, sign, weight in parts
        }
    elif isinstance(loss, Mapping):
        weights = loss
    elif callable(loss):
        return loss
    else:
        weights = {}
    names = ("mse", "cosine")
    values = {}
    for name, weight in weights.items():
        try:
            values[name] = float(weight)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            values[name] = -1.0
    if (
        not values
        or not set(values) <= set(names)
        or min(values.values()) < 0
        or not sum(values.values()) > 0
    ):
        raise SynthDistillError(
            f"loss must be 'mse', 'cosine', weights such as 'mse=1,cosine=10' or a function of "
            f"two embedding batches, found {loss!r}"
        )
    return EmbeddingLoss(**{name: values.get(name, 0.0) for name in names})
