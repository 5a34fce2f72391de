"""What a step in the latent space does to an identity, for any generator and teacher."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .. import faces


@torch.no_grad()
def cosines_by_coefficient(
    generator: Any,
    teacher: nn.Module,
    coefficients: Sequence[float] = (0.5, 1.0, 2.0),
    images: int = 256,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[float, float]:
    """Measure the teacher's mean cosine between faces at w and at w + coefficient · N(0, I).

    That is the farthest that dynamic sampling moves (c = 1). The scale of w is each generator's
    own: a coefficient that leaves the same cosine does the same to identities on another one.
    """
    device = next(teacher.parameters()).device
    total = torch.zeros(len(coefficients), dtype=torch.float64)

    def embed(w: torch.Tensor) -> torch.Tensor:
        return teacher(faces.crop(generator.synthesis(w.expand(-1, generator.num_ws, -1)))).float()

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for first in range(0, images, batch_size):
            count = min(batch_size, images - first)
            w = generator.mapping(torch.randn(count, generator.z_dim).to(device))[:, :1]
            noise = torch.randn(count, 1, generator.w_dim).to(device)
            original = embed(w)
            for i, coefficient in enumerate(coefficients):
                cosine = F.cosine_similarity(embed(w + coefficient * noise), original)
                total[i] += cosine.double().sum().cpu()
    return dict(zip(coefficients, (total / images).tolist(), strict=True))
