"""Training on labelled renderings: the miniature of training on real faces with identities."""

from typing import Any

import numpy
import torch
from lightning_fabric import Fabric

from ..distillation.networks import create_optimizer, create_student
from ..distillation.options import Options
from ..distillation.random_numbers import RandomNumbers
from ..distillation.step import StepResult
from ..files import SynthDistillError
from . import TRAINING_SEED
from .arcface import ArcFace
from .conditions import CONDITION_NAMES, conditions_from_uniform, sample_identities
from .renderer import render

_Samples = tuple[torch.Tensor, torch.Tensor]


class LabelledRenderings:
    """Train a student on drawn faces of known people, with the ArcFace loss and no teacher.

    In the place of a :py:class:`~..distillation.step.Distillation`: an iteration has two batches of
    renderings, so that a run sees as many images and does as many updates. In the log, the cosine
    is that of an embedding and its identity's centre, and there is no validation error.

    Generator, teacher, sampling and loss of the options are not used. ``identities`` people are
    learned, none of whom is in a benchmark.
    """

    def __init__(self, options: Options, fabric: Fabric, *, identities: int = 2000) -> None:
        if fabric.world_size > 1:
            # the identities' centres are not shared between processes
            raise SynthDistillError("training on labelled renderings takes one device")
        self.fabric = fabric
        self.people = sample_identities(identities, numpy.random.default_rng([TRAINING_SEED, 7]))
        student = create_student(options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            # from a random start, a margin of 0.3 and a scale of 32 kept the student of
            # `toyfaces-real` at chance for the four epochs that were tried
            self.head = ArcFace(identities, margin=0.0, scale=16.0).to(fabric.device)
        optimizer, self.scheduler = create_optimizer(
            options, [*student.parameters(), *self.head.parameters()]
        )
        self.student, self.optimizer = fabric.setup(student, optimizer)

    def iteration(self, numbers: RandomNumbers, rows: range) -> tuple[StepResult, StepResult]:
        """Do two updates, each on a batch of renderings."""
        return self._update("first", numbers, rows), self._update("second", numbers, rows)

    def _update(self, name: str, numbers: RandomNumbers, rows: range) -> StepResult:
        faces, labels = self.draw(name, numbers, rows)
        embeddings = self.student(faces)
        loss = self.head(embeddings, labels)
        self.fabric.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return StepResult(loss.detach(), self._similarity(embeddings, labels))

    def draw(self, name: str, numbers: RandomNumbers, rows: range) -> _Samples:
        """Render a batch: faces ``[b, 3, 112, 112]`` and the numbers of the people ``[b]``."""
        normal = numbers.normal(name, 1 + len(CONDITION_NAMES), rows).cpu().double()
        # the normal distribution function makes uniform numbers of them
        uniform = torch.special.ndtr(normal).clamp(max=1 - 1e-12).numpy()
        labels = torch.from_numpy((uniform[:, 0] * len(self.people)).astype(numpy.int64))
        faces = render(self.people[labels], conditions_from_uniform(uniform[:, 1:]))
        return faces.to(self.fabric.device), labels.to(self.fabric.device)

    @torch.no_grad()
    def _similarity(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.head.cosines(embeddings).gather(1, labels[:, None])[:, 0]

    @torch.no_grad()
    def _look(self, name: str, numbers: RandomNumbers, rows: range) -> _Samples:
        faces, labels = self.draw(name, numbers, rows)
        return faces, self._similarity(self.student(faces), labels)

    def validate(self, numbers: RandomNumbers, rows: range) -> tuple[torch.Tensor, torch.Tensor]:
        """Give no error (there is no teacher) and the cosines with the centres, ``[b]`` each."""
        _, similarity = self._look("fresh", numbers, rows)
        return torch.full_like(similarity, torch.nan), similarity

    def samples(self, numbers: RandomNumbers, rows: range) -> tuple[_Samples, _Samples]:
        """Give two batches of renderings ``[b, 3, 112, 112]`` with their cosines ``[b]``."""
        return self._look("first", numbers, rows), self._look("second", numbers, rows)

    def state_dict(self) -> dict[str, Any]:
        """Give the centres, which a resumed run goes on with."""
        return {"head": self.head.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the centres of a run that is resumed."""
        self.head.load_state_dict(state["head"])
