"""Several generators that share each batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files import SynthDistillError

Make = Callable[[int, Any, Tensor, range], Tensor]
"""From a generator's number, the generator, its part of a batch and its rows, counted among its
own, to a tensor of one entry a row."""


class Mixture(nn.Module):
    """Generators that make shares of each batch, every row always by the same of them.

    Of the first n rows each makes its share, to a whole image. A row's w is moved, or drawn anew,
    in the latent space of its generator, whatever the strategy. z and w are as wide as those of the
    widest: a generator reads the first elements, the others mean nothing.
    """

    def __init__(self, generators: Sequence[Any], shares: Sequence[float]) -> None:
        super().__init__()
        self.members = nn.ModuleList(generators)
        self.shares = [share / sum(shares) for share in shares]
        self.z_dim, self.w_dim, self.resolution = (
            max(getattr(one, name) for one in generators)
            for name in ("z_dim", "w_dim", "resolution")
        )
        self._divisions: dict[tuple[range, torch.device], tuple[list[tuple], Tensor]] = {}

    def owners(self, rows: int) -> list[int]:
        """Tell the number of the generator of each of a batch's first rows."""
        made, owners = [0] * len(self.shares), []
        for row in range(1, rows + 1):
            lacks = [share * row - done for share, done in zip(self.shares, made, strict=True)]
            owners.append(lacks.index(max(lacks)))
            made[owners[-1]] += 1
        return owners

    def check(self, batch_size: int) -> None:
        """Refuse batches in which a generator has no image."""
        unused = set(range(len(self.members))) - set(self.owners(batch_size))
        if unused:
            raise SynthDistillError(
                f"of {batch_size} images, generator {min(unused) + 1} of {len(self.members)} makes "
                "none: give it a larger share, or take a larger --batch-size."
            )

    def mapping(self, z: Tensor, rows: range, truncation_psi: float = 1.0) -> Tensor:
        """Map z ``[b, z_dim]`` of some rows of a batch to w ``[b, w_dim]``."""

        def make(_: int, generator: Any, part: Tensor, __: range) -> Tensor:
            w = generator.mapping(part[:, : generator.z_dim], truncation_psi=truncation_psi)[:, 0]
            return F.pad(w, (0, self.w_dim - w.shape[1]))

        return self.share_out(make, z, rows)

    def share_out(self, make: Make, batch: Tensor, rows: range) -> Tensor:
        """Let each generator make something of its rows of ``batch``; give all in their order."""
        parts, order = self._divide(rows, batch.device)
        made = [make(n, self.members[n], batch[places], own) for n, places, own in parts]
        return torch.cat(made)[order]

    def _divide(self, rows: range, device: torch.device) -> tuple[list[tuple], Tensor]:
        # made once: a CUDA graph copies nothing from the host
        if (rows, device) not in self._divisions:
            owners = self.owners(rows.stop)
            parts, order = [], []
            for number in range(len(self.members)):
                before = owners[: rows.start].count(number)
                places = [i for i, owner in enumerate(owners[rows.start :]) if owner == number]
                if places:
                    own = range(before, before + len(places))
                    parts.append((number, torch.tensor(places, device=device), own))
                    order += places
            self._divisions[rows, device] = parts, torch.tensor(order, device=device).argsort()
        return self._divisions[rows, device]
