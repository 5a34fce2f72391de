"""The run folder: what a training leaves for people, for Bob and for its own resumption."""

import contextlib
import csv
import fcntl
import io
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..files import SynthDistillError, atomic_write, read_record, remove_temporaries

logger = logging.getLogger(__name__)

PIPELINE = '''"""Bob pipeline of this folder's student: `bob bio pipeline simple -p {path} ...`."""

import inspect
from pathlib import Path

from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import student_pipeline

# Bob loads configurations without __file__: the code itself knows where it stands
_here = Path(inspect.currentframe().f_code.co_filename).resolve().parent

pipeline = student_pipeline(_here / "student.safetensors")
'''

FREE_OPTIONS = frozenset(
    {"device", "devices", "num_nodes", "checkpoint_minutes", "checkpoint_steps"}
)
"""Options that may change when a run is resumed: they do not change what is learned."""


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path
        Where it is. It is made by :py:meth:`lock`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.student = path / "student.safetensors"
        self.options = path / "options.json"
        self.log = path / "log.csv"
        self.samples = path / "samples.png"
        self.pipeline = path / "pipeline.py"
        self.events = path / "tensorboard"
        self._held: IO[str] | None = None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the system frees it when the process ends.

        What a killed process left half written is removed.

        Raises
        ------
        SynthDistillError
            The folder cannot be written, or another process holds it.
        """
        self._take()
        try:
            remove_temporaries(self.path)
            yield
        finally:
            if self._held is not None:
                self._held.close()

    def _take(self) -> None:
        path = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+")
        except OSError as error:
            raise SynthDistillError(
                f"cannot write to the output folder {self.path}: {error.strerror}. "
                "Choose another with -o."
            ) from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with stream:
                stream.seek(0)
                who = stream.read(200).strip() or "unknown"
            raise SynthDistillError(
                f"another process ({who}) is training in {self.path}: wait for it, stop it, or "
                "choose another folder with -o."
            ) from error
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        self._held = stream

    def restore(self) -> bool:
        """Make the folder again, and hold it, should somebody have removed it.

        Returns
        -------
            True if it was: then it is empty.
        """
        if self._held is None or self.options.exists():
            return False
        logger.warning("%s was removed: making it again", self.path)
        self._held.close()
        self._take()
        return True

    def begin(self, description: Mapping[str, Any]) -> None:
        """Write ``options.json`` and ``pipeline.py``, or check that the run is the same one.

        Parameters
        ----------
        description
            The content of ``options.json``; its entry ``options`` decides.

        Raises
        ------
        SynthDistillError
            The folder holds a run with other options.
        """
        self.check(description)
        with atomic_write(self.options) as temporary:
            temporary.write_text(json.dumps(description, indent=2) + "\n")
        with atomic_write(self.pipeline) as temporary:
            temporary.write_text(PIPELINE.format(path=self.pipeline.name))

    def check(self, description: Mapping[str, Any]) -> None:
        """Check that the folder holds no run, or this one: see :py:meth:`begin`."""
        if not self.options.exists():
            return
        before = self.read_options()
        now = json.loads(json.dumps(description["options"]))
        changed = [
            f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if name not in FREE_OPTIONS
            and before.get(name) != now.get(name)
            # a run may be made longer: what it has learned so far stays the same
            and not (name == "epochs" and before.get(name, 0) < now.get(name, 0))
        ]
        if changed:
            raise SynthDistillError(
                f"{self.path} holds a run with other options: {'; '.join(changed)}. "
                "Choose another folder with -o, or repeat the command that began it."
            )

    def read_options(self) -> dict[str, Any]:
        """Read the options of the run that the folder holds.

        Raises
        ------
        FileNotFoundError
            It holds none.
        SynthDistillError
            They cannot be read.
        """
        try:
            options = read_record(self.options)["options"]
            if not isinstance(options, dict) or type(options.get("epochs", 0)) is not int:
                raise TypeError("its options are not those of a run")
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SynthDistillError(
                f"cannot read {self.options}, which says what this run is: {error}. "
                "Move the folder away, or choose another one with -o."
            ) from error
        return options

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write ``log.csv``, one row an epoch, floats with nine significant digits."""
        if not rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})
        with atomic_write(self.log) as temporary:
            temporary.write_text(text.getvalue())
