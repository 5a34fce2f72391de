"""A benchmark at its place, read when it is first needed. Knows nothing of Bob."""

import dataclasses
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import SynthDistillError
from .benchmark import Benchmark, get_benchmark
from .images import load_image
from .layouts import Opened, open_layout
from .templates import Templates, arrange

if TYPE_CHECKING:
    import pandas

logger = logging.getLogger(__name__)


class Verification:
    """The pairs of one benchmark and where its images lie.

    Commands that only need pairs and folds use it without waiting for Bob's imports. It is pickled
    without what was read: a worker reads again only if it must.

    Parameters
    ----------
    name
        One of the names of ``benchmark.benchmarks()``.
    directory
        The folder, or an InsightFace ``.bin``; without it what ``bob config set`` names.
    pairs
        Another number of pairs than the official one.
    """

    def __init__(
        self, name: str, directory: Path | str | None = None, pairs: int | None = None
    ) -> None:
        self.benchmark: Benchmark = get_benchmark(name, pairs)
        self.name = name
        self._other_pairs = pairs is not None
        self.directory = None if directory is None else Path(directory).expanduser()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("benchmark", "name", "directory", "_other_pairs")
        return {key: self.__dict__[key] for key in kept}

    def __str__(self) -> str:
        place = "" if self.directory is None else f", {str(self.directory)!r}"
        return f"Verification({self.name!r}{place})"

    @functools.cached_property
    def opened(self) -> Opened:
        """What the files hold.

        Raises
        ------
        SynthDistillError
            No folder is configured, or it does not hold the benchmark.
        """
        directory, pairs = self.locate()
        return open_layout(dataclasses.replace(self.benchmark, pairs=pairs), directory)

    @functools.cached_property
    def arranged(self) -> Templates:
        """References, probes and persons."""
        return arrange(self.opened.pairs)

    def locate(self) -> tuple[Path, int]:
        """Find the folder or file: as given, as configured, or as its package provides it.

        Returns
        -------
            The folder or file, and how many pairs must be in it.

        Raises
        ------
        SynthDistillError
            Nothing is given or configured.
        """
        if self.directory is not None:
            return self.directory, self.benchmark.pairs
        if self.benchmark.provide is not None:
            asked = self.benchmark.pairs if self._other_pairs else None
            return self.benchmark.provide(self.benchmark, asked)
        from ..files import require_path

        what = f"the benchmark {self.benchmark.title}"
        return require_path(self.benchmark.key, what), self.benchmark.pairs

    def template_id(self, template: int) -> str:
        """Name a template: unique among all benchmarks."""
        return f"{self.name}/{self.arranged.identifiers[template]}"

    @functools.cached_property
    def metadata(self) -> list[dict[str, str]]:
        """The folds and the labels that each template has pairs of."""
        pairs, arranged = self.opened.pairs, self.arranged
        folds: list[set[int]] = [set() for _ in arranged.identifiers]
        labels: list[set[str]] = [set() for _ in arranged.identifiers]
        for left, right, genuine, fold in zip(
            arranged.left.tolist(),
            arranged.right.tolist(),
            pairs.genuine.tolist(),
            pairs.fold.tolist(),
            strict=True,
        ):
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
        """Give a digest that changes with the pairs and the images' files."""
        return self.opened.fingerprint

    def check(self) -> None:
        """Decode every image.

        Raises
        ------
        SynthDistillError
            Images are unreadable or of a wrong size: which, and how many.
        """
        unreadable = list(self._unreadable())
        if unreadable:
            raise SynthDistillError(
                f"{len(unreadable):,} of {len(self.opened.sources):,} images of "
                f"{self.benchmark.title} cannot be used. The first: {unreadable[0]} No scores are "
                "computed from a part of a benchmark: copy or align these images again."
            )

    def _unreadable(self) -> Iterator[str]:
        for source in self.opened.sources:
            try:
                load_image(source)
            except SynthDistillError as error:
                yield error.message
