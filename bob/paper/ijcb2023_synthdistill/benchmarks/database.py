"""The Bob database of pairs: one class for all benchmarks and layouts."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
from bob.bio.base.pipelines import Database
from bob.pipelines import DelayedSample, Sample, SampleSet

from ..files import SynthDistillError
from .images import load_image
from .verification import Verification

if TYPE_CHECKING:
    import pandas

# (y, x), of faces.RIGHT_EYE and faces.LEFT_EYE, in Bob's words: importing faces imports torch
ALIGNED_EYES = {"reye": (51.6, 38.2946), "leye": (51.6, 73.5318)}
"""Where the eyes of aligned faces are, (y, x), as Bob's ``fixed_positions``."""


class PairDatabase(Database):
    """A benchmark of pairs and folds for Bob's pipelines; nothing is opened before it is needed.

    Each image is a sample set of its own. Samples are delayed, hold ``uint8`` RGB images
    ``[3, H, W]``, and travel to workers as a place in a file. Metadata of sample sets:
    ``template_id``, ``subject_id`` (equal if and only if the pair is genuine), ``fold`` and
    ``label`` (all folds and labels that the image has pairs of, such as ``3`` and
    ``genuine+impostor``). Unaligned images have ``annotations`` with both eyes; those of aligned
    ones are None, and the database's ``fixed_positions`` says where the eyes are.

    Parameters
    ----------
    name
        The benchmark: one of the names of ``benchmark.benchmarks()``.
    directory
        The folder with the files, or the InsightFace ``.bin``; without it what
        ``bob config set`` names. Miniatures that are nowhere are drawn into the user's cache.
    pairs
        Another number of pairs than the official one, a multiple of 20.

    Raises
    ------
    SynthDistillError
        There is no benchmark of that name.
    """

    def __init__(
        self, name: str, directory: Path | str | None = None, pairs: int | None = None
    ) -> None:
        self.verification = Verification(name, directory, pairs)
        self.name = name
        self.protocol = "default"
        self.score_all_vs_all = False
        self.annotation_type = "eyes-center"
        self.memory_demanding = False

    def __str__(self) -> str:
        return str(self.verification).replace("Verification", "PairDatabase", 1)

    @property
    def fixed_positions(self) -> dict[str, tuple[float, float]] | None:
        """Where the eyes are if all images are aligned, in Bob's form; else None."""
        return None if self.verification.opened.eyes else dict(ALIGNED_EYES)

    def pairs(self) -> "pandas.DataFrame":
        """List all pairs: columns left, right (template ids), genuine, fold; in listed order."""
        return self.verification.pairs()

    def describe(self) -> str:
        """Say in one line what was found where."""
        return self.verification.describe()

    def fingerprint(self) -> str:
        """Give a digest that changes with the pairs and the images' files."""
        return self.verification.fingerprint()

    def groups(self) -> list[str]:
        """List the groups: all pairs are one, ``dev``."""
        return ["dev"]

    def protocols(self) -> list[str]:
        """List the protocols: there is one."""
        return ["default"]

    def background_model_samples(self) -> list[Sample]:
        """Give no samples: nothing is trained on a benchmark."""
        return []

    def references(self, group: str = "dev") -> list[SampleSet]:
        """List the references, one image each.

        Raises
        ------
        SynthDistillError
            The files are not there, wrong or incomplete.
        """
        if group not in (None, "dev"):
            return []
        arranged = self.verification.arranged
        references = {other: None for others in arranged.references.values() for other in others}
        return [self._sample_set(template) for template in sorted(references)]

    def probes(self, group: str = "dev") -> list[SampleSet]:
        """List the probes, one image each, with the template ids of their ``references``.

        Raises
        ------
        SynthDistillError
            The files are not there, wrong or incomplete.
        """
        if group not in (None, "dev"):
            return []
        arranged = self.verification.arranged
        references = {other for others in arranged.references.values() for other in others}
        return [
            self._sample_set(
                template,
                # parallel workers must not write one feature file at the same time
                mark="~probe" if template in references else "",
                references=[self.verification.template_id(other) for other in others],
            )
            for template, others in sorted(arranged.references.items())
        ]

    def all_samples(self, groups: str | list[str] | None = None) -> list[Sample]:
        """List all distinct images as samples."""
        if groups is not None and "dev" not in groups:
            return []
        opened = self.verification.opened
        return [self._sample(image, "") for image in range(len(opened.sources))]

    def check(self) -> None:
        """Decode every image.

        Raises
        ------
        SynthDistillError
            Images are unreadable or of a wrong size: which, and how many.
        """
        self.verification.check()

    def _sample_set(self, template: int, mark: str = "", **metadata: Any) -> SampleSet:
        verification = self.verification
        arranged = verification.arranged
        stranger = "" if template < len(verification.opened.sources) else "~stranger"
        return SampleSet(
            [self._sample(arranged.images[template], stranger + mark)],
            template_id=verification.template_id(template),
            subject_id=f"{self.name}/{arranged.subjects[template]}",
            **verification.metadata[template],
            **metadata,
        )

    def _sample(self, image: int, mark: str) -> DelayedSample:
        verification = self.verification
        opened = verification.opened
        return DelayedSample(
            _loader(verification, image),
            key=f"{self.name}/{opened.pairs.images[image]}{mark}",
            annotations=dict(opened.eyes[image]) if opened.eyes else None,
        )


def _loader(verification: Verification, image: int) -> Callable[[], numpy.ndarray]:
    return functools.partial(_load, verification, verification.opened.sources[image])


def _load(verification: Verification, source: Any) -> numpy.ndarray:
    """Load one image; if that fails, find out how many others are unreadable too."""
    try:
        return load_image(source)
    except SynthDistillError:
        verification.check()
        raise
