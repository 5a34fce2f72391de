"""The Bob database of pairs: one class for all benchmarks and layouts."""

import functools
from collections.abc import Iterable
from typing import Any

import numpy
from bob.bio.base.pipelines import Database
from bob.pipelines import DelayedSample, Sample, SampleSet

from ..files import SynthDistillError
from .images import ALIGNED_EYES, ImageSource, load_image
from .verification import Verification


class SampleSets(list[SampleSet]):
    """Sample sets that know their database, so that a pipeline can say what its scores are of."""

    def __init__(self, database: Verification, sets: Iterable[SampleSet]) -> None:
        super().__init__(sets)
        self.database = database


class PairDatabase(Verification, Database):
    """A benchmark of pairs and folds for Bob's pipelines; takes what ``Verification`` takes.

    Each image is a sample set of its own. Samples are delayed, hold ``uint8`` RGB images
    ``[3, H, W]``, and travel to workers as a place in a file. Metadata of sample sets:
    ``template_id``, ``subject_id`` (equal if and only if the pair is genuine), ``fold`` and
    ``label`` (all folds and labels that the image has pairs of, such as ``3`` and
    ``genuine+impostor``). Unaligned images have ``annotations`` with both eyes. Images that are to
    match never have ``unusable``, which says why; whoever embeds them has to see to it that their
    scores are minus infinity.
    """

    protocol = "default"
    score_all_vs_all = False
    annotation_type = "eyes-center"
    memory_demanding = False

    @property
    def fixed_positions(self) -> dict[str, tuple[float, float]] | None:
        """Where the eyes are if all images are aligned, in Bob's form; else None."""
        return None if self.opened.eyes else dict(ALIGNED_EYES)

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
        """List the references, one image each."""
        chosen = sorted(self._references()) if group in (None, "dev") else []
        return SampleSets(self, map(self._sample_set, chosen))

    def probes(self, group: str = "dev") -> list[SampleSet]:
        """List the probes, one image each, with the template ids of their ``references``."""
        chosen = sorted(self.arranged.references.items()) if group in (None, "dev") else []
        references = self._references()
        sets = (
            self._sample_set(
                template,
                # keys are unique: parallel workers must not write one feature file
                mark="~probe" if template in references else "",
                references=[self.template_id(other) for other in others],
            )
            for template, others in chosen
        )
        return SampleSets(self, sets)

    def all_samples(self, groups: str | list[str] | None = None) -> list[Sample]:
        """List all distinct images as samples."""
        if groups is not None and "dev" not in groups:
            return []
        names = self.opened.pairs.images
        return [self._sample(image, f"{self.name}/{name}") for image, name in enumerate(names)]

    def _references(self) -> set[int]:
        return {other for others in self.arranged.references.values() for other in others}

    def _sample_set(self, template: int, mark: str = "", **metadata: Any) -> SampleSet:
        name = self.template_id(template)
        return SampleSet(
            [self._sample(self.arranged.images[template], name + mark)],
            template_id=name,
            subject_id=f"{self.name}/{self.arranged.subjects[template]}",
            **self.metadata[template],
            **metadata,
        )

    def _sample(self, image: int, key: str) -> DelayedSample:
        opened = self.opened
        unusable = {"unusable": self.unusable[image]} if image in self.unusable else {}
        return DelayedSample(
            functools.partial(_load, self, opened.sources[image]),
            key=key,
            annotations=dict(opened.eyes[image]) if opened.eyes else None,
            **unusable,
        )


def _load(database: PairDatabase, source: ImageSource) -> numpy.ndarray:
    """Load one image; if that fails, find out how many others are unreadable too."""
    try:
        return load_image(source)
    except SynthDistillError:
        database.check()
        raise
