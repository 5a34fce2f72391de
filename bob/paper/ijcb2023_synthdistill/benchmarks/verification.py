"""A benchmark at its place, read when it is first needed. Knows nothing of Bob."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from ..files import SynthDistillError, require_path
from .benchmark import get_benchmark
from .images import load_image
from .layouts import Opened, open_layout
from .templates import Templates, arrange

if TYPE_CHECKING:
    import pandas


class Verification:
    """The pairs of one benchmark and where its images lie; nothing is opened before it is needed.

    Commands that only need pairs and folds use it without waiting for Bob's imports. It is pickled
    without what was read: a worker reads again only if it must.

    Parameters
    ----------
    name
        The benchmark: one of the names of ``benchmark.benchmarks()``.
    directory
        The folder with the files, or an InsightFace ``.bin``; without it what ``bob config set``
        names, or what the benchmark's package provides.
    pairs
        Another number of pairs than the official one, a multiple of 20.
    """

    def __init__(
        self, name: str, directory: Path | str | None = None, pairs: int | None = None
    ) -> None:
        self.benchmark = get_benchmark(name, pairs)
        self.name = name
        self.directory = None if directory is None else Path(directory).expanduser()
        self._asked = pairs

    def __getstate__(self) -> dict[str, Any]:
        read = ("opened", "arranged", "metadata")
        return {key: value for key, value in self.__dict__.items() if key not in read}

    def __str__(self) -> str:
        place = "" if self.directory is None else f", {str(self.directory)!r}"
        return f"{type(self).__name__}({self.name!r}{place})"

    @functools.cached_property
    def opened(self) -> Opened:
        """What the files hold."""
        benchmark, directory = self.benchmark, self.directory
        if directory is None and benchmark.provide is not None:
            directory, pairs = benchmark.provide(benchmark, self._asked)
            benchmark = dataclasses.replace(benchmark, pairs=pairs)
        if directory is None:
            directory = require_path(benchmark.key, f"the benchmark {benchmark.title}")
        return open_layout(benchmark, directory)

    @functools.cached_property
    def arranged(self) -> Templates:
        """References, probes and persons."""
        return arrange(self.opened.pairs)

    def template_id(self, template: int) -> str:
        """Name a template: unique among all benchmarks."""
        return f"{self.name}/{self.arranged.identifiers[template]}"

    @functools.cached_property
    def metadata(self) -> list[dict[str, str]]:
        """The folds and the labels that each template has pairs of: ``3+4``, ``genuine``."""
        pairs, arranged = self.opened.pairs, self.arranged
        folds: list[set[int]] = [set() for _ in arranged.identifiers]
        labels: list[set[str]] = [set() for _ in arranged.identifiers]
        columns = (arranged.left, arranged.right, pairs.genuine, pairs.fold)
        for left, right, genuine, fold in zip(*(some.tolist() for some in columns), strict=True):
            for template in (left, right):
                folds[template].add(fold)
                labels[template].add("genuine" if genuine else "impostor")
        return [
            {"fold": "+".join(map(str, sorted(some))), "label": "+".join(sorted(others))}
            for some, others in zip(folds, labels, strict=True)
        ]

    def pairs(self) -> "pandas.DataFrame":
        """List all pairs: columns left, right (template ids), genuine, fold; in listed order."""
        import pandas

        arranged, pairs = self.arranged, self.opened.pairs
        return pandas.DataFrame(
            {
                "left": [self.template_id(template) for template in arranged.left],
                "right": [self.template_id(template) for template in arranged.right],
                "genuine": pairs.genuine,
                "fold": pairs.fold,
            }
        )

    def describe(self) -> str:
        """Say in one line what was found where."""
        return self.opened.description

    def fingerprint(self) -> str:
        """Digest the pairs, the content of all images, and the eye positions."""
        opened = self.opened
        pairs = opened.pairs
        digest = hashlib.sha256()
        for name, source in zip(pairs.images, opened.sources, strict=True):
            digest.update(name.encode("utf-8", "surrogatepass") + b"\n")
            digest.update(hashlib.sha256(source.read()).digest())
        columns = numpy.stack([pairs.left, pairs.right, pairs.genuine, pairs.fold])
        digest.update(columns.astype("<i8").tobytes())
        digest.update(json.dumps(opened.eyes).encode())
        return digest.hexdigest()

    def check(self) -> None:
        """Decode every image; say which, and how many, are unreadable or of a wrong size."""
        unreadable = []
        for source in self.opened.sources:
            try:
                load_image(source)
            except SynthDistillError as error:
                unreadable.append(error.message)
        if unreadable:
            raise SynthDistillError(
                f"{len(unreadable):,} of {len(self.opened.sources):,} images of "
                f"{self.benchmark.title} cannot be used. The first: {unreadable[0]} No scores are "
                "computed from a part of a benchmark: copy or align these images again."
            )
