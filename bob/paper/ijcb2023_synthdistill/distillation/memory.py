"""A memory of generated faces, which the student visits again.

A face costs a pass of the generator and one of the teacher; to learn from it once more costs one of
the small student alone. The faces of an update's second visits are drawn from the last thousands,
not from the last batch, so that they differ from one another and from what was just learnt.
"""

from typing import Any

import torch
from lightning_fabric import Fabric

from .. import faces
from .random_numbers import RandomNumbers


class Memory:
    """The last batches of faces, as uint8, with the teacher's embeddings.

    Each process remembers its own rows, and row i of a batch is drawn from the rows i of those
    before: a student does not depend on the number of processes.

    Parameters
    ----------
    batches
        How many are remembered; the oldest makes room.
    rows
        This process's of each batch.
    """

    def __init__(self, batches: int, rows: range, device: Any) -> None:
        size = (batches, len(rows), 3, faces.FACE_SIZE, faces.FACE_SIZE)
        self.first = rows.start
        self.faces = torch.zeros(size, dtype=torch.uint8, device=device)
        self.targets = torch.zeros(size[:2], device=device)  # until the first are seen
        self.added = 0

    def add(self, batch: torch.Tensor, targets: torch.Tensor, rows: range) -> None:
        """Remember some rows of the current batch: faces ``[b, 3, 112, 112]`` and embeddings.

        Embeddings may have no elements, where the teacher will be asked again.
        """
        if self.targets.ndim == 2:
            self.targets = targets.new_zeros(*self.targets.shape, targets.shape[1])
        place = self.added % len(self.faces), slice(rows.start - self.first, rows.stop - self.first)
        self.faces[place] = faces.to_uint8(batch)
        self.targets[place] = targets.to(self.targets)

    def close(self) -> None:
        """Go on to the next batch."""
        self.added += 1

    def draw(
        self, numbers: RandomNumbers, name: str, rows: range
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give faces ``[b, 3, 112, 112]`` and their embeddings, each of a batch of its own."""
        known = min(self.added, len(self.faces))
        chosen = (numbers.uniform(name, 1, rows)[:, 0] * known).long().clamp(max=known - 1)
        place = chosen, torch.arange(rows.start, rows.stop, device=chosen.device) - self.first
        targets = self.targets[place]
        return faces.from_uint8(self.faces[place]).to(targets.dtype), targets

    def state_dict(self, fabric: Fabric) -> dict[str, Any]:
        """Give what all processes remember, in the order of the rows."""
        known = min(self.added, len(self.faces))
        whole = [
            torch.as_tensor(fabric.all_gather(kept)).reshape(fabric.world_size, *kept.shape)
            for kept in (self.faces[:known], self.targets[:known])
        ]
        images, targets = (torch.cat(list(parts), dim=1).cpu() for parts in whole)
        return {"added": self.added, "faces": images, "targets": targets}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take this process's rows of what :py:meth:`state_dict` gave."""
        rows = slice(self.first, self.first + self.faces.shape[1])
        known = len(state["faces"])
        self.faces[:known] = state["faces"][:, rows]
        targets = state["targets"][:, rows].to(self.faces.device)
        self.targets = targets.new_zeros(*self.faces.shape[:2], *targets.shape[2:])
        self.targets[:known] = targets
        self.added = state["added"]
