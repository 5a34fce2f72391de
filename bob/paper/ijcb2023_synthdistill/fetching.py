"""What the paper's tables need: what it is, where it is from, and whether it is here."""

import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .files import (
    DETECTOR,
    GENERATOR,
    STUDENT,
    TEACHER,
    SynthDistillError,
    atomic_write,
    configured_path,
    sha256,
)

RIGHT, UNSET, MISSING, WRONG, OTHER = "right", "not set", "missing", "wrong", "other"
"""States: in place; key not set; nothing at its path; not usable; usable, but not the paper's."""

_BOB = "https://www.idiap.ch/software/bob/data/bob/bob.bio.face/master/pytorch/"
DETECTOR_FILE = "face_detection_yunet_2023mar.onnx"
"""YuNet, of OpenCV's model zoo, under the MIT licence."""

_DETECTOR_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_ZOO = "https://github.com/opencv/opencv_zoo/{}/main/models/face_detection_yunet"
_NVIDIA = "https://api.ngc.nvidia.com/v2/models/nvidia/research/{0}/versions/1/files/{1}.pkl"
_CATALOGUE = "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/research/models/{0}/files"

GENERATORS = (
    *(f"stylegan2-ffhq-{size}x{size}" for size in (256, 512, 1024)),
    *(f"stylegan3-{kind}-ffhq-1024x1024" for kind in "tr"),
)
"""NVIDIA's generators of aligned faces; the first is the paper's. Those of FFHQ-U are not."""


@dataclass(frozen=True)
class Need:
    """A thing that the tables need, and what to do without it.

    ``look`` gives the state and a description of what is at its path, or refuses it in words.
    ``digest`` is that of the file at ``address``, such as ``md5:...``; ``member`` the wanted file
    of an archive there.
    """

    name: str
    key: str | None
    needed_for: str
    command: str
    look: Callable[[Path], tuple[str, str]]
    required: bool = True
    page: str = ""
    address: str = ""
    digest: str | None = None
    member: str | None = None


def needs(generator: str = GENERATORS[0]) -> dict[str, Need]:
    """List all that the tables need, perhaps with another one of :py:data:`GENERATORS`."""
    from .benchmarks.benchmark import REAL

    family, fetched = generator.partition("-")[0], "synthdistill-fetch {} --configure (or bob "
    fetched += "config set {} FILE)"
    table = [
        Need(
            "generator",
            GENERATOR,
            "training: every student of tables 1 to 5",
            fetched.format("generator", GENERATOR),
            _look_at_generator,
            page=_CATALOGUE.format(family),
            # no checksum is published: it is loaded instead
            address=_NVIDIA.format(family, generator),
        ),
        Need(
            "teacher",
            TEACHER,
            "training: every student of tables 1 to 5, and the teacher's own row",
            fetched.format("teacher", TEACHER),
            _look_at_teacher,
            page=_BOB,
            address=f"{_BOB}iresnet-91a5de61.tar.gz",
            digest="md5:3976c0a539811d888ef5b6217e5de425",
            member="iresnet100-73e07ba7.pth",
        ),
        Need(
            "imagenet",
            None,
            "the start of every student but `random`, on machines without a connection",
            "synthdistill-fetch imagenet",
            _look_at_imagenet,
            required=False,
        ),
        Need(
            "student",
            STUDENT,
            "`-p synthdistill-student` only: the tables' students are found in their run folders",
            f"bob config set {STUDENT} FILE, a student.safetensors of synthdistill-train",
            _look_at_student,
            required=False,
        ),
        Need(
            "detector",
            DETECTOR,
            "faces in photographs: synthdistill-verify and synthdistill-embed",
            "synthdistill-fetch detector",
            _look_at_detector,
            required=False,
            page=_ZOO.format("tree"),
            address=f"{_ZOO.format('raw')}/{DETECTOR_FILE}",
            digest=f"sha256:{_DETECTOR_SHA256}",
        ),
    ]
    for real in REAL:
        files = f"{real.bin_name}, or the images and {real.list_name}"
        command = f"bob config set {real.key} FOLDER, the one with {files}"
        use = f"the column {real.title} of tables 1 to 5"
        table.append(Need(real.name, real.key, use, command, partial(_look_at_pairs, real.name)))
    return {need.name: need for need in table}


def take_stock() -> Iterator[dict[str, Any]]:
    """Look at everything, one after the other; nothing is downloaded.

    Of each thing: ``command`` is what mends it, None if nothing has to be.
    """
    for need in needs().values():
        path = configured_path(need.key) if need.key else Path()
        try:
            if path is None:
                state, message = UNSET, f"{need.key} is not set"
            elif not path.exists():
                state, message = MISSING, f"there is nothing at {path}"
            else:
                state, message = need.look(path)
        except SynthDistillError as error:
            state, message = WRONG, error.message
        yield {
            "name": need.name,
            "state": state,
            "message": message,
            "needed_for": need.needed_for,
            "required": need.required,
            "key": need.key,
            "path": str(path) if need.key and path else None,
            "command": None if state == RIGHT else need.command,
        }


def is_complete(items: list[dict[str, Any]]) -> bool:
    """Tell whether all that is required, and all that is set, is right."""
    return all(i["state"] == RIGHT or (not i["required"] and i["state"] == UNSET) for i in items)


def fetch(
    need: Need, folder: Path, address: str | None = None, force: bool = False
) -> tuple[Path, str]:
    """Download the file of a need, unless it is there or to be renewed, and look at it.

    ``address`` is another one of the same file. Gives the path that the need's key has to point
    to, and what is there.
    """
    from pooch.hashes import hash_matches

    file = folder / need.address.rpartition("/")[2]
    wanted = folder / need.member if need.member else file
    try:
        if force or not wanted.exists():
            if force or not file.exists() or (need.digest and not hash_matches(file, need.digest)):
                _download(address or need.address, file, need)
            if need.member:
                _extract(file, need.member, wanted)
        return wanted, need.look(wanted)[1]
    except SynthDistillError as error:
        raise SynthDistillError(
            f"{error.message}\n\nBy hand: open {need.page}, download {file.name} into {folder}, "
            f"and run the same command again, or `bob config set {need.key} PATH`."
        ) from error


def _download(address: str, path: Path, need: Need) -> None:
    """Download a file once. What is not what it should be never gets its name."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30)
    with atomic_write(path) as new:
        try:
            pooch.retrieve(address, need.digest, new.name, new.parent, downloader=downloader)
            if need.digest is None:
                need.look(new)
        except requests.RequestException as error:
            raise SynthDistillError(f"cannot download {address}: {error}.") from error
        except (ValueError, SynthDistillError) as error:
            reason = str(error).partition(" Deleted")[0].replace(str(new), "what came")
            raise SynthDistillError(f"{address}: a damaged or another file: {reason}") from error


def _extract(archive: Path, member: str, path: Path) -> None:
    """Take one regular file out of an archive, by its base name, whatever folder it is in."""
    with tarfile.open(archive) as opened:
        for info in opened:
            stream = opened.extractfile(info) if info.isfile() else None
            if stream is not None and Path(info.name).name == member:
                with atomic_write(path) as temporary, temporary.open("wb") as target:
                    shutil.copyfileobj(stream, target)
                return
    raise SynthDistillError(f"the archive {archive} has no {member}.")


def default_folder() -> Path:
    """Give the folder for weights: in ``$XDG_DATA_HOME``, by default ``~/.local/share``."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "bob.paper.ijcb2023_synthdistill"


def _look_at_generator(path: Path) -> tuple[str, str]:
    from .generators import load_generator

    network = load_generator(path)
    architecture = type(network).__module__.rpartition(".")[2].replace("stylegan", "StyleGAN")
    text = f"{architecture}, {network.resolution} px, {_millions(network)}"
    if not network.aligned:
        return OTHER, f"{text}; its faces are not aligned (FFHQ-U): the crop would miss them"
    sizes = (network.resolution, network.z_dim, network.w_dim)
    if (architecture, sizes) == ("StyleGAN2", (256, 512, 512)):
        return RIGHT, text
    return OTHER, f"{text}; the paper's is StyleGAN2, 256 px, z and w of 512"


def _look_at_teacher(path: Path) -> tuple[str, str]:
    from .recognition.iresnet import LAYERS, WIDTHS, IResNet
    from .recognition.teacher import load_teacher

    teacher = load_teacher(path)
    network = teacher.network
    if not isinstance(network, IResNet):
        return OTHER, f"an ONNX graph of {teacher.embedding_size} elements, no IResNet"
    text = f"IResNet with {network.layers} blocks, {network.embedding_size} elements, "
    text += f"{_millions(network)}, eps {network.eps:g}"
    if (network.layers, network.widths) == (LAYERS["iresnet100"], WIDTHS):
        return RIGHT, text
    return OTHER, f"{text}; the paper's is iresnet100"


def _look_at_student(path: Path) -> tuple[str, str]:
    from .recognition.student import load_student

    student = load_student(path)
    return RIGHT, f"{student.architecture}, {_millions(student)}"


def _look_at_detector(path: Path) -> tuple[str, str]:
    if sha256(path) == _DETECTOR_SHA256:
        return RIGHT, "YuNet of March 2023"
    return OTHER, f"another file than YuNet of March 2023 ({DETECTOR_FILE})"


def _look_at_pairs(name: str, path: Path) -> tuple[str, str]:
    from .benchmarks.verification import Verification

    return RIGHT, Verification(name, path).describe()


def _look_at_imagenet(_: Path) -> tuple[str, str]:
    from .recognition.student import TINYFAR, is_cached

    missing = [name for name in TINYFAR if not is_cached(name)]
    if missing:
        return UNSET, f"not in the cache, for {', '.join(missing)}; training downloads them"
    return RIGHT, f"in the cache, for {', '.join(TINYFAR)}"


def _millions(network: Any) -> str:
    from .recognition.student import count_parameters

    return f"{count_parameters(network) / 1e6:.1f} M parameters"
