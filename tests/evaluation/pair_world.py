"""A small Bob database of random faces, and networks to evaluate on it."""

import functools
from pathlib import Path

import numpy as np
import torch
from bob.bio.base.pipelines import Database
from bob.pipelines import DelayedSample, SampleSet
from PIL import Image
from torch import nn

from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).transpose(2, 0, 1)


def act_and_load(act, path):
    act(path)
    return load(path)


class RandomFaces(Database):
    """Pairs of random images: a probe is compared with one, two or three references.

    ``act`` is called in whichever process loads an image, with its path.
    """

    def __init__(self, folder: Path, seed: int = 0, act=None):
        super().__init__(protocol="default", score_all_vs_all=False)
        self.folder, self.count, self.act = folder, 40, act
        if not folder.exists():
            rng = np.random.default_rng(seed)
            folder.mkdir(parents=True)
            for i in range(2 * self.count):
                coarse = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
                Image.fromarray(coarse).resize((112, 112)).save(self.path(i))

    def path(self, i: int) -> Path:
        return self.folder / f"image {i}.png"

    def set(self, i: int, **metadata) -> SampleSet:
        loader = functools.partial(act_and_load, self.act) if self.act else load
        sample = DelayedSample(functools.partial(loader, self.path(i)), key=f"image {i}")
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
        named: dict[int, list[str]] = {}
        for probe, reference in self.pairs():
            named.setdefault(probe, []).append(f"image {reference}")
        return [self.set(probe, fold=probe % 10, references=some) for probe, some in named.items()]

    def background_model_samples(self):
        return []

    def all_samples(self, groups=None):
        return [s for sets in (self.references(), self.probes()) for x in sets for s in x]

    def groups(self):
        return ["dev"]

    def protocols(self):
        return ["default"]


def random_student(path: Path, seed: int = 0) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = create_student("lcnet_050", initialisation="random")
    # batch norms with statistics: an untrained network gives nearly one embedding for all images
    for module in student.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        student(nn.functional.interpolate(torch.rand(32, 3, 14, 14) * 2 - 1, size=112))
    save_student(path, student.eval())
    return path


class Halves(nn.Module):
    """Means of the left and right half of each colour."""

    def forward(self, faces):
        return torch.cat([faces[..., :56].mean((2, 3)), faces[..., 56:].mean((2, 3))], dim=1)


class Zero(nn.Module):
    def forward(self, faces):
        return faces.new_zeros(len(faces), 4)


class Viewing(nn.Module):
    """A ``view`` behind the last convolution, as many published networks have it."""

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.convolution = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, faces):
        return self.convolution(faces).view(len(faces), -1)


class Pair(Viewing):
    def forward(self, faces):
        return super().forward(faces), faces
