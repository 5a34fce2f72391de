"""The output folder of one evaluation: held against a second one, complete or as it was."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from ..benchmarks.accuracy import summary
from ..benchmarks.scores import read_scores
from ..benchmarks.verification import Verification
from ..files import SynthDistillError, atomic_write, remove_temporaries
from . import progress
from .embedding import EmbeddingTransformer
from .provenance import write_origin
from .terminal import say


class Output:
    """Where one evaluation writes its scores, and the record of what they are of.

    The ``folder`` is held against a second evaluation, if it is known.
    """

    def __init__(
        self,
        folder: Path | None,
        embedding: EmbeddingTransformer,
        database: Verification | None,
        expected: int,
    ) -> None:
        recipe = self.recipe = embedding.recipe
        self.expected, self.folder, self.started = expected, folder, time.monotonic()
        self.description: dict[str, Any] = {
            "network": {
                "kind": recipe.kind,
                "place": str(recipe if recipe.kind == "network" else recipe.path()),
                "sha256": recipe.fingerprint(),
            },
            "options": {k: v for k, v in vars(embedding).items() if k != "recipe"},
            "database": {},
        }
        self.database = database
        if database is not None:
            images = database.opened.pairs.images
            self.description["database"] = {
                "name": database.name,
                "description": database.describe(),
                "fingerprint": database.fingerprint(),
                "unusable": {images[number]: why for number, why in database.unusable.items()},
            }
        self._held = _hold(folder) if folder else None
        self._tidy()

    def finish(self, parts: Iterable[str], path: Path, headers: int) -> list[str]:
        """Write the parts of a score file as one, with its record: all of it or nothing."""
        rows = 0
        try:
            with atomic_write(path) as temporary:
                with temporary.open("w", newline="") as whole:
                    for number, part in enumerate(parts):
                        with Path(part).open(newline="") as lines:
                            head = [next(lines, "") for _ in range(headers)]
                            whole.writelines(head if number == 0 else [])
                            for line in lines:
                                whole.write(line)
                                rows += 1
                if rows != self.expected:
                    raise SynthDistillError(
                        f"expected {self.expected:,} scores, found {rows:,}: {path} is not "
                        "written. Has the database each reference of its probes, once?"
                    )
                if self.recipe.fingerprint() != self.description["network"]["sha256"]:
                    raise SynthDistillError(
                        f"{self.recipe} changed during its evaluation: evaluate it again."
                    )
                seconds = round(time.monotonic() - self.started, 3)
                write_origin(path, temporary, {**self.description, "seconds": seconds})
        finally:
            self.end()
        if self.database is not None and path.suffix == ".csv":
            found = summary(read_scores(path, self.database))
            say(
                f"{self.database.name}: accuracy {found['accuracy']:.2%} ± "
                f"{found['accuracy_std']:.2%} over {len(found['accuracy_per_fold'])} folds of "
                f"{found['pairs']:,} pairs, EER {found['eer']:.2%}: {path}"
            )
        return [str(path)]

    def end(self) -> None:
        """Remove what is half done, and free the folder."""
        progress.end()
        self._tidy()
        if self._held:
            self._held.close()
            self._held = None

    def _tidy(self) -> None:
        if self.folder and self._held:
            shutil.rmtree(self.folder / "tmp", ignore_errors=True)  # Bob's
            remove_temporaries(self.folder)


def _hold(folder: Path) -> IO[str]:
    """Hold a folder for this process; the system frees it when the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        stream = os.fdopen(os.open(folder / ".lock", flags, 0o666), "r+")
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        busy = isinstance(error, BlockingIOError)
        problem = "another evaluation is at work in" if busy else "cannot write to"
        raise SynthDistillError(
            f"{problem} {folder} ({error.strerror}). Choose another folder with -o."
        ) from error
    return stream
