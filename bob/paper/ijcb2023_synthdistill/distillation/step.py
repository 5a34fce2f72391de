"""One iteration of the method: a fresh batch, a step, a re-sampled batch, the same step again."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from .. import faces
from ..generators.mixture import Mixture
from .augmentation import Augmentation
from .losses import Loss
from .memory import Memory
from .random_numbers import RandomNumbers
from .sampling import FreshBatch, Sampling

Clock = Callable[[str], contextlib.AbstractContextManager]
"""Marks the phases of an iteration by their names; the benchmark's measures them."""


@dataclass
class StepResult:
    """Loss (a scalar) and cosines of student and teacher ``[b]``, from before the update."""

    loss: torch.Tensor
    similarity: torch.Tensor


class Distillation:
    """The networks and rules of a training, and its iteration.

    Parameters
    ----------
    fabric
        Device, precision and processes.
    generator, teacher
        Frozen: images from w, and embeddings ``[b, d]`` of faces. A generator may be a mixture.
    student, optimizer
        Set up by fabric.
    sampling
        Chooses the second batch's w.
    loss
        Compares the embeddings.
    truncation_psi, noise_mode
        Of mapping and synthesis: 1 (no truncation) and ``"random"`` in the paper.
    micro_batch_size
        Images that are generated, embedded and differentiated at a time; the gradients of a batch
        are summed over its micro-batches. None takes the whole batch at once, as the paper does.
    augmentation
        Changes the faces that teacher and student see. None in the paper.
    memory, replay
        What was generated before, and further updates on it after each. None and 0 in the paper.
    clock
        Marks the phases.
    """

    def __init__(
        self,
        fabric: Fabric,
        generator: Any,
        teacher: nn.Module,
        student: Any,
        optimizer: Any,
        sampling: Sampling,
        loss: Loss,
        *,
        truncation_psi: float = 1.0,
        noise_mode: str = "random",
        micro_batch_size: int | None = None,
        augmentation: Augmentation | None = None,
        memory: Memory | None = None,
        replay: int = 0,
        clock: Clock = contextlib.nullcontext,
    ) -> None:
        self.fabric = fabric
        self.generator = generator
        self.teacher = teacher
        self.student = student
        self.optimizer = optimizer
        self.sampling = sampling
        self.loss = loss
        self.truncation_psi = truncation_psi
        self.noise_mode = noise_mode
        self.micro_batch_size = micro_batch_size
        self.augmentation = augmentation
        self.memory = memory
        self.replay = replay
        self.clock = clock
        self.scheduler: torch.optim.lr_scheduler.LRScheduler | None = None

    def iteration(self, numbers: RandomNumbers, rows: range) -> tuple[StepResult, StepResult]:
        """Update the student twice: on a fresh and on a re-sampled batch.

        ``rows`` are those of the whole batch that this process takes.
        """
        z = numbers.normal("z", self.generator.z_dim, rows)
        w = self.mapping(z, rows)
        fresh = self.step(w, "fresh", numbers, rows)
        w = self.resample(z, w, fresh.similarity, numbers, rows)
        resampled = self.step(w, "resampled", numbers, rows)
        return fresh, resampled

    @torch.no_grad()
    def mapping(self, z: torch.Tensor, rows: range) -> torch.Tensor:
        """Map z ``[b, z_dim]`` to one w an image, ``[b, w_dim]``."""
        with self.clock("mapping"):
            if isinstance(self.generator, Mixture):
                return self.generator.mapping(z, rows, self.truncation_psi)
            return self.generator.mapping(z, truncation_psi=self.truncation_psi)[:, 0]

    @torch.no_grad()
    def resample(
        self,
        z: torch.Tensor,
        w: torch.Tensor,
        similarity: torch.Tensor,
        numbers: RandomNumbers,
        rows: range,
    ) -> torch.Tensor:
        """Let the strategy choose the second batch's w, ``[b, w_dim]``."""
        # where float16 overflows, the loss scaler skips this update; the next shall have images
        fresh = FreshBatch(z, w, similarity.nan_to_num())
        return self.sampling.resample(
            fresh,
            partial(self.mapping, rows=rows),
            lambda width: numbers.normal("resample", width, rows),
        )

    @torch.no_grad()
    def faces(
        self, w: torch.Tensor, name: str, numbers: RandomNumbers, rows: range
    ) -> torch.Tensor:
        """Generate the faces ``[b, 3, 112, 112]`` of w ``[b, w_dim]``, one w for all layers."""
        if not isinstance(self.generator, Mixture):
            return self._faces(self.generator, w, name, numbers, rows)

        def make(n: int, generator: Any, w: torch.Tensor, own: range) -> torch.Tensor:
            w = w[:, : generator.w_dim]
            return self._faces(generator, w, f"{name} of generator {n}", numbers, own)

        return self.generator.share_out(make, w, rows)

    def _faces(
        self, generator: Any, w: torch.Tensor, name: str, numbers: RandomNumbers, rows: range
    ) -> torch.Tensor:
        with self.clock("synthesis"):
            ws = w[:, None].expand(-1, generator.num_ws, -1)
            noise = None
            if self.noise_mode == "random":
                noise = numbers.noise(name, rows, getattr(generator, "noise_pixels", 0))
            images = generator.synthesis(ws, noise_mode=self.noise_mode, noise=noise)
        with self.clock("crop"):
            return faces.crop(_float(images))

    def step(self, w: torch.Tensor, name: str, numbers: RandomNumbers, rows: range) -> StepResult:
        """Update the student on the faces of w ``[b, w_dim]``, then on remembered ones.

        ``name`` is the batch's, which its noise is drawn for. What is told is of the first update.
        """

        def generated(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
            crops = self.faces(w[part], name, numbers, rows[part])
            shown, target = self.label(crops, name, numbers, rows[part])
            if self.memory is not None:
                # an embedding of the changed face is of no use: it will be changed otherwise
                kept = target if self.augmentation is None else target[:, :0]
                self.memory.add(crops, kept, rows[part])
            return shown, target

        result = self.update(generated, len(rows))
        if self.memory is not None:
            self.memory.close()
            for visit in range(self.replay):
                self.revisit(self.memory, f"{name} again {visit}", numbers, rows)
        return result

    def revisit(self, memory: Memory, name: str, numbers: RandomNumbers, rows: range) -> None:
        """Update the student on faces drawn from the memory."""

        def remembered(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
            crops, target = memory.draw(numbers, name, rows[part])
            if self.augmentation is None:
                return crops, target
            return self.label(crops, name, numbers, rows[part])

        self.update(remembered, len(rows))

    def label(
        self, crops: torch.Tensor, name: str, numbers: RandomNumbers, rows: range
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment faces ``[b, 3, 112, 112]``, and let the teacher embed what comes of them."""
        if self.augmentation is not None:
            draws = itertools.count()
            with self.clock("augmentation"):
                crops = self.augmentation(
                    crops,
                    lambda width: numbers.uniform(f"{name} change {next(draws)}", width, rows),
                )
        with self.clock("teacher"), torch.no_grad():
            return crops, _float(self.teacher(crops))

    def update(
        self, labelled: Callable[[slice], tuple[torch.Tensor, torch.Tensor]], count: int
    ) -> StepResult:
        """Update the student once, on ``count`` faces and the teacher's embeddings of them."""
        results = []
        for part, last in self._parts(count):
            crops, target = labelled(part)
            with self.fabric.no_backward_sync(self.student, enabled=not last):
                with self.clock("student forward"):
                    embedding = _float(self.student(crops))
                    loss = self.loss(embedding, target)
                with self.clock("backward"):
                    share = len(crops) / count
                    self.fabric.backward(loss if share == 1 else loss * share)
            similarity = F.cosine_similarity(embedding.detach(), target)
            results.append(StepResult(loss.detach() * share, similarity))
        with self.clock("optimizer"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        if len(results) == 1:
            return results[0]
        loss = torch.stack([result.loss for result in results]).sum()
        return StepResult(loss, torch.cat([result.similarity for result in results]))

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint must hold besides student, optimizer and schedule."""
        return {} if self.memory is None else self.memory.state_dict(self.fabric)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :py:meth:`state_dict` gave."""
        if self.memory is not None:
            self.memory.load_state_dict(state)

    def _parts(self, count: int) -> Iterator[tuple[slice, bool]]:
        """Divide ``count`` rows into micro-batches; say which is the last."""
        size = self.micro_batch_size or count
        for start in range(0, count, size):
            yield slice(start, min(start + size, count)), start + size >= count

    @torch.no_grad()
    def validate(self, numbers: RandomNumbers, rows: range) -> tuple[torch.Tensor, torch.Tensor]:
        """Compare student and teacher on fresh images: squared errors and cosines, ``[b]`` each."""
        z = numbers.normal("z", self.generator.z_dim, rows)
        _, errors, similarities = self.compare(self.mapping(z, rows), "fresh", numbers, rows)
        return errors, similarities

    @torch.no_grad()
    def identity_kept(self, numbers: RandomNumbers, rows: range) -> torch.Tensor:
        """Compare faces with what they are re-sampled to, by the teacher's cosines ``[b]``.

        As if the student agreed with the teacher entirely, for dynamic sampling the longest step.
        The scale of w is each generator's own: a coefficient that leaves the same cosine does the
        same to identities on another one.
        """
        z = numbers.normal("z", self.generator.z_dim, rows)
        w = self.mapping(z, rows)
        moved = self.resample(z, w, w.new_ones(len(rows)), numbers, rows)
        cosines = []
        for part, _ in self._parts(len(rows)):
            fresh, resampled = (
                _float(self.teacher(self.faces(one[part], name, numbers, rows[part])))
                for one, name in ((w, "fresh"), (moved, "resampled"))
            )
            cosines.append(F.cosine_similarity(fresh, resampled))
        return torch.cat(cosines)

    @torch.no_grad()
    def samples(
        self, numbers: RandomNumbers, rows: range
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Give fresh and re-sampled faces ``[b, 3, 112, 112]`` with their cosines ``[b]``."""
        z = numbers.normal("z", self.generator.z_dim, rows)
        w = self.mapping(z, rows)
        fresh, _, similarity = self.compare(w, "fresh", numbers, rows)
        w = self.resample(z, w, similarity, numbers, rows)
        resampled, _, similarity_after = self.compare(w, "resampled", numbers, rows)
        return (fresh, similarity), (resampled, similarity_after)

    @torch.no_grad()
    def compare(
        self, w: torch.Tensor, name: str, numbers: RandomNumbers, rows: range
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compare student and teacher on the faces of w, without an update.

        Returns
        -------
            The faces ``[b, 3, 112, 112]``, the squared error of each embedding (mean over its
            elements) ``[b]`` and its cosine ``[b]``.
        """
        parts = []
        for part, _ in self._parts(len(rows)):
            crops = self.faces(w[part], name, numbers, rows[part])
            target, embedding = _float(self.teacher(crops)), _float(self.student(crops))
            error = (embedding - target).square().mean(dim=1)
            parts.append((crops, error, F.cosine_similarity(embedding, target)))
        crops, errors, similarities = (torch.cat(values) for values in zip(*parts, strict=True))
        return crops, errors, similarities


def _float(x: torch.Tensor) -> torch.Tensor:
    """Give at least float32: losses and cosines of half-precision embeddings are too coarse."""
    return x if x.dtype == torch.float64 else x.float()
