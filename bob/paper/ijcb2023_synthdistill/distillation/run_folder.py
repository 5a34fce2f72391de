"""The run folder: what a training leaves for people, for Bob and for its own resumption."""

import contextlib
import csv
import fcntl
import json
import os
import platform
import shutil
import socket
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import faces
from ..files import (
    SynthDistillError,
    atomic_write,
    bob_pipeline,
    read_record,
    remove_temporaries,
    sha256,
    write_record,
)
from ..recognition.own import network_expression
from .checkpoint import LAST, PREVIOUS
from .options import Options, names

PACKAGES = ("bob.paper.ijcb2023_synthdistill", "torch", "timm", "numpy", "lightning-fabric")
"""Packages whose versions ``options.json`` records."""

CAPTION = 14
"""Height of the line under each face of ``samples.png``, in pixels."""

Faces = tuple[torch.Tensor, torch.Tensor]
"""Faces ``[n, 3, 112, 112]``, and the cosine of student and teacher for each, ``[n]``."""


def describe_run(options: Options, device: str, configs: Sequence[str] = ()) -> dict[str, Any]:
    """Give the content of ``options.json``: what the run is, and what it runs on.

    Parameters
    ----------
    options
        With the paths of its files.
    device
        The kind that was chosen: ``cpu``, ``cuda`` or ``mps``.
    configs
        As the command line names them.
    """
    from ..machine import describe_machine, package_version, source_revision

    files, known = {}, {}
    for name in ("generator", "teacher"):
        found: list[Path] = []
        # files are known by their content: they may move
        known[name] = _by_content(getattr(options, name), found)
        for number, path in enumerate(found, start=1):
            key = name if len(found) == 1 else f"{name} {number}"
            files[key] = {"path": str(path), "sha256": sha256(path)}
    plain = replace(options, **known).describe() | {"device": device}
    return {
        "format": 1,
        "options": plain,
        "sources": _sources(options, configs),
        "files": files,
        "student": plain["student"],
        "seed": options.seed,
        "epochs": options.epochs,
        "images": options.images,
        "command": sys.argv,
        "configs": list(configs),
        "versions": {name: package_version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "revision": source_revision(),
        "machine": describe_machine(),
    }


def _by_content(value: Any, found: list[Path]) -> Any:
    """Replace files by their hashes, also within lists and partials, and add them to ``found``."""
    if isinstance(value, list | tuple):
        return [_by_content(one, found) for one in value]
    if isinstance(value, partial):
        given = {name: _by_content(one, found) for name, one in value.keywords.items()}
        return partial(value.func, *_by_content(value.args, found), **given)
    if isinstance(value, str | Path) and os.path.isfile(value):  # noqa: PTH113 - any text
        found.append(Path(value))
        return sha256(value)
    return value


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _each(one)
    else:
        yield value


def _sources(options: Options, configs: Sequence[str]) -> dict[str, str]:
    """Hash the user's own code: configs given as files, and modules of what they set."""
    found = {Path(config).name: sha256(config) for config in configs if Path(config).is_file()}
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    installed.append(str(Path(__file__).parents[1]))
    for value in _each([getattr(options, name) for name in names()]):
        while isinstance(value, partial):
            value = value.func
        kind = value if hasattr(value, "__module__") else type(value)
        module = sys.modules.get(kind.__module__)
        path = getattr(module, "__file__", None)
        if path and not any(Path(path).is_relative_to(folder) for folder in installed):
            found[kind.__module__] = sha256(path)
    return found


class RunFolder:
    """The folder of one run. It is made by :py:meth:`lock`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.student = path / "student.safetensors"
        self.options = path / "options.json"
        self.log = path / "log.csv"
        self.samples = path / "samples.png"
        self.pipeline = path / "pipeline.py"
        self.events = path / "tensorboard"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the system frees it when the process ends.

        What a killed process left half written is removed.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # a link could lead to a file of somebody else's
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            number = os.open(self.path / ".lock", flags, 0o666)
        except OSError as error:
            raise SynthDistillError(
                f"cannot write to the output folder {self.path}: {error.strerror}. "
                "Choose another with -o."
            ) from error
        with os.fdopen(number, "r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                who = stream.read(200).strip() or "unknown"
                raise SynthDistillError(
                    f"another process ({who}) is training in {self.path}: wait for it, stop it, "
                    "or choose another folder with -o."
                ) from error
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            stream.flush()
            remove_temporaries(self.path)
            yield

    def begin(
        self, description: Mapping[str, Any], options: Options, configs: Sequence[str] = ()
    ) -> None:
        """Write ``options.json``, ``pipeline.py`` and copies of the user's configs."""
        imports = network = ""
        if (written := network_expression(options.student)) is not None:
            # a network of the user's own: its file names it, but only code can make it
            imports, network = f"{written[0]}\n", f", network={written[1]}"
        write_record(self.options, description)
        with atomic_write(self.pipeline) as temporary:
            own = {"imports": imports, "network": network}
            text = bob_pipeline("This folder's student", "student", self.student.name, **own)
            temporary.write_text(text)
        for config in configs:
            if Path(config).is_file():
                with atomic_write(self.path / "configs" / Path(config).name) as temporary:
                    shutil.copyfile(config, temporary)

    def check(self, description: Mapping[str, Any]) -> None:
        """Refuse to go on if something was learned here with other options or other code."""
        learned = any((self.path / name).exists() for name in (LAST, PREVIOUS, self.student.name))
        if not learned or not self.options.exists():
            return
        try:
            record = read_record(self.options)
            before, code = dict(record["options"]), dict(record.get("sources", {}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SynthDistillError(
                f"cannot read {self.options}, which says what this run is: {error}. "
                "Move the folder away, or choose another one with -o."
            ) from error
        now = json.loads(json.dumps(description["options"]))
        free = {"checkpoint_minutes", "checkpoint_steps", "device", "keep_epochs"}
        if now["sync_batchnorm"]:
            free |= {"devices", "num_nodes"}
        # a run may be made longer if what it has learned so far stays the same
        longer = isinstance(before.get("epochs"), int) and before["epochs"] < now["epochs"]
        if longer and now["scheduler"] != "cosine":
            free.add("epochs")
        changed = [
            f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
            for name in sorted((before.keys() | now.keys()) - free)
            if before.get(name) != now.get(name)
        ]
        if before.get("device") != now["device"]:
            changed.append(
                f"a run begun on {before.get('device')} cannot go on on {now['device']}, which "
                "draws and rounds otherwise"
            )
        changed += [
            f"the code in {name} changed"
            for name, digest in description["sources"].items()
            if code.get(name, digest) != digest
        ]
        if changed:
            raise SynthDistillError(
                f"{self.path} holds a run with other options: {'; '.join(changed)}. "
                "Choose another folder with -o, or repeat the command that began it."
            )

    def set_aside(self) -> None:
        """Move all that an earlier run left here into a folder within, ``before-1`` and so on."""
        names = [path.name for path in self.path.iterdir() if path.name != ".lock"]
        earlier = [name for name in names if name.startswith("before-")]
        left = [self.path / name for name in names if name not in earlier]
        if left:
            aside = self.path / f"before-{len(earlier) + 1}"
            aside.mkdir()
            for path in left:
                path.rename(aside / path.name)

    def keep(self, epoch: int) -> None:
        """Copy what is published into a folder of this epoch's own, which is like a run's."""
        for path in (self.student, self.log, self.options, self.pipeline):
            with atomic_write(self.path / "epochs" / f"{epoch:02d}" / path.name) as copy:
                shutil.copyfile(path, copy)

    def is_published(self, options: Options) -> bool:
        """Tell whether all that others use is there."""
        files = [self.student, self.samples] + [self.log] * (options.epochs > 0)
        return all(path.exists() for path in files)

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write ``log.csv``, one row an epoch, floats with nine significant digits."""
        with atomic_write(self.log) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            for row in rows:
                text = {k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()}
                writer.writerow(text)

    def draw_samples(self, fresh: Faces, resampled: Faces) -> None:
        """Write ``samples.png``: fresh faces above re-sampled ones, their cosines below each."""
        from PIL import Image, ImageDraw

        side = faces.FACE_SIZE
        canvas = Image.new("RGB", (side * len(fresh[0]), 2 * (side + CAPTION)), "white")
        pen = ImageDraw.Draw(canvas)
        for y, name, batch in ((0, "fresh", fresh), (side + CAPTION, "re-sampled", resampled)):
            pixels = faces.to_uint8(batch[0]).permute(0, 2, 3, 1).contiguous().cpu().numpy()
            for column, similarity in enumerate(batch[1].tolist()):
                canvas.paste(Image.fromarray(pixels[column]), (column * side, y))
                words = f"{name} {similarity:+.3f}"
                pen.text((column * side + 3, y + side + 1), words, fill="black")
        with atomic_write(self.samples) as temporary:
            canvas.save(temporary, format="PNG")
