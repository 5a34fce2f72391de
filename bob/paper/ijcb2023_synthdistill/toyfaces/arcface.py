"""Training recognisers on labelled faces: the ArcFace loss of Deng et al. (CVPR 2019)."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class ArcFace(nn.Module):
    """Classify identities with an additive angular margin.

    The logit of the true identity is ``scale * cos(angle + margin)``, of every other
    ``scale * cos(angle)``, the angle being that between the embedding and the identity's centre.
    In the publication the margin is 0.5 (radians) and the scale 64.
    """

    def __init__(
        self, identities: int, embedding_size: int = 512, margin: float = 0.5, scale: float = 64.0
    ) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.centres = nn.Parameter(torch.randn(identities, embedding_size) * 0.01)

    def cosines(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Compare embeddings ``[b, d]`` with every identity's centre: ``[b, identities]``."""
        return F.linear(F.normalize(embeddings), F.normalize(self.centres))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the mean cross-entropy of embeddings ``[b, d]`` and identities ``[b]``."""
        cosine = self.cosines(embeddings)
        true = cosine.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        moved = torch.cos(torch.acos(true) + self.margin)
        # past pi - margin the cosine would rise again: go on falling instead
        falling = true - self.margin * math.sin(self.margin)
        moved = torch.where(true > math.cos(math.pi - self.margin), moved, falling)
        logits = cosine.scatter(1, labels[:, None], moved)
        return F.cross_entropy(self.scale * logits, labels)
