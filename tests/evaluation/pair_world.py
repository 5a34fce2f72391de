"""A small Bob database of random faces, and students to evaluate on it."""

import functools
import os
import signal
from pathlib import Path

import numpy as np
import torch
from bob.bio.base.pipelines import Database
from bob.pipelines import DelayedSample, SampleSet
from PIL import Image

from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).transpose(2, 0, 1)


class RandomFaces(Database):
    """Pairs of random images: a probe is compared with one, two or three references."""

    def __init__(self, folder: Path, count: int = 40, seed: int = 0):
        super().__init__(protocol="default", score_all_vs_all=False)
        self.folder = folder
        self.count = count
        self.seed = seed

    def draw(self) -> "RandomFaces":
        rng = np.random.default_rng(self.seed)
        self.folder.mkdir(parents=True)
        for i in range(2 * self.count):
            coarse = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((112, 112)).save(self.path(i))
        return self

    def path(self, i: int) -> Path:
        return self.folder / f"image {i}.png"

    def set(self, i: int, **metadata) -> SampleSet:
        sample = DelayedSample(functools.partial(load, self.path(i)), key=f"image {i}")
        return SampleSet([sample], template_id=f"image {i}", subject_id=f"s{i % 7}", **metadata)

    def pairs(self) -> list[tuple[int, int]]:
        return [
            (self.count + i, (i + j) % self.count)
            for i in range(self.count)
            for j in range(1 + i % 3)
        ]

    def references(self, group="dev"):
        return [self.set(i) for i in range(self.count)]

    def probes(self, group="dev"):
        pairs = self.pairs()
        return [
            self.set(
                probe, fold=probe % 10, references=[f"image {r}" for p, r in pairs if p == probe]
            )
            for probe in range(self.count, 2 * self.count)
        ]

    def background_model_samples(self):
        return []

    def all_samples(self, groups=None):
        return [s for sets in (self.references(), self.probes()) for x in sets for s in x]

    def groups(self):
        return ["dev"]

    def protocols(self):
        return ["default"]

    def fingerprint(self) -> str:
        return f"{self.folder} {self.count} {self.seed}"


class Interrupting(RandomFaces):
    """Somebody presses Ctrl-C while its images are read."""

    def set(self, i, **metadata):
        samples = super().set(i, **metadata)
        loader = functools.partial(interrupt_and_load, self.path(i))
        samples.samples[0] = DelayedSample(loader, parent=samples.samples[0])
        return samples


def interrupt_and_load(path: Path) -> np.ndarray:
    flag = path.parent.parent / "interrupted"
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGINT)
    return load(path)


def random_student(path: Path, seed: int = 0, name: str = "lcnet_050") -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = create_student(name, initialisation="random")
    # batch norms with statistics: an untrained network gives nearly one embedding for all images
    for module in student.train().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        student(torch.nn.functional.interpolate(torch.rand(32, 3, 14, 14) * 2 - 1, size=112))
    save_student(path, student.eval())
    return path


def halves() -> torch.nn.Module:
    """A network by name: means of the left and right half of each colour."""
    return Halves()


class Halves(torch.nn.Module):
    def forward(self, faces):
        return torch.cat([faces[..., :56].mean((2, 3)), faces[..., 56:].mean((2, 3))], dim=1)


class Nan(torch.nn.Module):
    def forward(self, faces):
        return faces.new_full((len(faces), 4), float("nan"))


class Zero(torch.nn.Module):
    def forward(self, faces):
        return faces.new_zeros(len(faces), 4)


class Viewing(torch.nn.Module):
    """A ``view`` behind the last convolution, as many published networks have it."""

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.convolution = torch.nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, faces):
        return self.convolution(faces).view(len(faces), -1)


class Pair(Viewing):
    def forward(self, faces):
        return super().forward(faces), faces


class Maps(torch.nn.Module):
    def forward(self, faces):
        return faces


class Photographs(torch.nn.Module):
    def forward(self, photographs):
        raise ValueError("224x224 expected")
