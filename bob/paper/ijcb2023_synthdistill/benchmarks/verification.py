"""A benchmark at its place, read when it is first needed. Knows nothing of Bob."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy

from ..files import SynthDistillError, printable, require_path
from .benchmark import Benchmark, get_benchmark, own_benchmark
from .eyes import EYES_FILE, are_elsewhere, check_eyes
from .images import ALIGNED_SIZE, ImageSource, load_image, read_size
from .layouts import Opened, open_layout
from .templates import Templates, arrange

if TYPE_CHECKING:
    import pandas

LISTED = 20
"""Images that cannot be used are named, but no more of them than this."""


class Verification:
    """The pairs of one benchmark and where its images lie; nothing is opened before it is needed.

    Commands that only need pairs and folds use it without waiting for Bob's imports. It is pickled
    without what was read: a worker reads again only if it must.

    Without a ``directory`` (or InsightFace ``.bin``) it is what ``bob config set`` names, or what
    the benchmark's package provides. ``pairs`` is another number of them than the official one.
    Images that are ``missing``, unreadable or without eyes (failures to acquire) end the evaluation
    by name (``refuse``), or their pairs have the score of minus infinity and are counted
    (``never-match``).
    """

    def __init__(
        self,
        name: str | Benchmark,
        directory: Path | str | None = None,
        pairs: int | None = None,
        missing: Literal["refuse", "never-match"] = "refuse",
    ) -> None:
        self.benchmark = name if isinstance(name, Benchmark) else get_benchmark(name, pairs)
        self.name = self.benchmark.name
        self.directory = None if directory is None else Path(directory).expanduser()
        self._asked = pairs
        if missing not in ("refuse", "never-match"):
            raise SynthDistillError(f"missing={missing!r}: `refuse` or `never-match` was expected.")
        self.missing = missing

    @classmethod
    def from_csv(
        cls,
        path: Path | str,
        name: str | None = None,
        directory: Path | str | None = None,
        title: str | None = None,
        missing: Literal["refuse", "never-match"] = "refuse",
    ) -> Self:
        """Open pairs of one's own: CSV, columns ``left``, ``right``, ``genuine``, perhaps ``fold``.

        Images are paths below ``directory``, without it the list's own folder; they are aligned, or
        photographs with an ``eye_positions.csv``. ``name`` is for template ids and commands,
        ``title`` for tables; without them the benchmark is called as its folder
        (``FOLDER/pairs.csv``), or as the file.
        """
        path = Path(path).expanduser().absolute()
        return cls(own_benchmark(path, name, title), directory or path.parent, missing=missing)

    def __getstate__(self) -> dict[str, Any]:
        read = ("opened", "arranged", "metadata", "unusable")
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
        directory = directory or require_path(benchmark.key, f"the benchmark {benchmark.title}")
        return open_layout(benchmark, directory, complete=self.missing == "refuse")

    @property
    def title(self) -> str:
        """As tables print it; of one's own pairs it says whether they are of drawn faces."""
        return self.benchmark.title + " (drawn faces)" * self.opened.drawn

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
        columns = {"genuine": pairs.genuine, "fold": pairs.fold}
        sides = {"left": arranged.left, "right": arranged.right}
        names = {side: list(map(self.template_id, some)) for side, some in sides.items()}
        return pandas.DataFrame({**names, **columns})

    def describe(self) -> str:
        """Say in one line what was found where."""
        return printable(self.opened.description)

    def fingerprint(self) -> str:
        """Digest the pairs, the content of all images, and the eye positions."""
        pairs, digest = self.opened.pairs, hashlib.sha256()
        for name, source in zip(pairs.images, self.opened.sources, strict=True):
            digest.update(name.encode("utf-8", "surrogatepass") + b"\n")
            with contextlib.suppress(*(SynthDistillError,) if self.missing != "refuse" else ()):
                digest.update(hashlib.sha256(source.read()).digest())
        columns = numpy.stack([pairs.left, pairs.right, pairs.genuine, pairs.fold])
        digest.update(columns.astype("<i8").tobytes())
        digest.update(json.dumps(self.opened.eyes).encode())
        return digest.hexdigest()

    @functools.cached_property
    def unusable(self) -> dict[int, str]:
        """The images that cannot be used, by index, and why.

        If they are to be refused, headers are read and nothing is decoded, so that they are known
        before anything is computed; if they never match, every image is decoded, so that all are
        known.
        """
        if self.missing == "never-match":
            return self._find_unusable(_decoded_size)
        return self._refuse(self._find_unusable(read_size))

    def check(self) -> None:
        """Decode every image, and refuse the benchmark if some cannot be used: which, and why."""
        self._refuse(self._find_unusable(_decoded_size))

    def _find_unusable(self, size_of: Callable[[ImageSource], tuple[int, int]]) -> dict[int, str]:
        opened, unusable, sizes = self.opened, {}, set()
        for image, source in enumerate(opened.sources):
            try:
                size = size_of(source)
                sizes.add(size)
                if opened.eyes:
                    check_eyes(source, opened.eyes[image], *size)
            except SynthDistillError as error:
                unusable[image] = error.message
        if opened.eyes and sizes == {(ALIGNED_SIZE, ALIGNED_SIZE)} and are_elsewhere(opened.eyes):
            raise SynthDistillError(
                f"all images of {self.benchmark.title} have {ALIGNED_SIZE}x{ALIGNED_SIZE} pixels, "
                f"as aligned faces have, but the eyes of `{EYES_FILE}` are elsewhere: remove that "
                f"file, or give the photographs. Found: {self.describe()}."
            )
        return unusable

    def _refuse(self, unusable: dict[int, str]) -> dict[int, str]:
        """Name the images that cannot be used, if there are any."""
        if unusable:
            more = f" And {len(unusable) - LISTED:,} more." if len(unusable) > LISTED else ""
            raise SynthDistillError(
                f"{len(unusable):,} of {len(self.opened.sources):,} images of "
                f"{self.benchmark.title} cannot be used: "
                f"{' '.join(list(unusable.values())[:LISTED])}{more} Copy, correct or align them "
                'again; or let them never match, by `PairDatabase(..., missing="never-match")`.'
            )
        return unusable


def _decoded_size(source: ImageSource) -> tuple[int, int]:
    _, height, width = load_image(source).shape
    return height, width
