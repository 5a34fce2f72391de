"""The weights that have a public address, and how to get them."""

import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .downloading import check_sum, download
from .files import GENERATOR, TEACHER, SynthDistillError, atomic_write


@dataclass(frozen=True)
class Source:
    """A file with weights and where it can be had.

    Parameters
    ----------
    name
        As the command takes it.
    title
        As messages say it.
    file_name
        The file at the address.
    address
        Its direct address.
    page
        The page about it, for people.
    key
        ``bob config set`` key that has to point to it.
    checksum
        ``ALGORITHM:HEXADECIMAL``, or None if it is not known.
    member
        If the file is an archive: the name of the file in it that is needed.
    """

    name: str
    title: str
    file_name: str
    address: str
    page: str
    key: str
    checksum: str | None = None
    member: str | None = None

    @property
    def wanted(self) -> str:
        """Name of the file that the key points to in the end."""
        return self.member or self.file_name


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="teacher",
            title="the teacher (ArcFace iresnet100, from Bob's data server)",
            file_name="iresnet-91a5de61.tar.gz",
            address="https://www.idiap.ch/software/bob/data/bob/bob.bio.face/master/pytorch/"
            "iresnet-91a5de61.tar.gz",
            page="https://www.idiap.ch/software/bob/data/bob/bob.bio.face/master/pytorch/",
            key=TEACHER,
            checksum="md5:3976c0a539811d888ef5b6217e5de425",
            member="iresnet100-73e07ba7.pth",
        ),
        Source(
            name="generator",
            title="the generator (StyleGAN2 FFHQ 256x256, from NVIDIA's catalogue)",
            file_name="stylegan2-ffhq-256x256.pkl",
            address="https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/"
            "files/stylegan2-ffhq-256x256.pkl",
            page="https://catalog.ngc.nvidia.com/orgs/nvidia/teams/research/models/stylegan2/files",
            key=GENERATOR,
        ),
    )
}
"""What can be fetched. The generator's checksum is not published where we could read it."""


def default_folder() -> Path:
    """Give the folder for weights: in ``$XDG_DATA_HOME``, by default ``~/.local/share``."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "bob.paper.ijcb2023_synthdistill"


def fetch(
    source: Source, folder: Path, address: str | None = None, force: bool = False, **options: Any
) -> Path:
    """Download a source unless it is there already, and take the wanted file out of an archive.

    Parameters
    ----------
    source
        One of :py:data:`SOURCES`.
    folder
        Where to put it.
    address
        Another address of the same file.
    force
        Whether to replace what is there.
    options
        For :py:func:`download`.

    Returns
    -------
        The file that the source's key has to point to.

    Raises
    ------
    SynthDistillError
        It cannot be had, or is not what it should be.
    """
    wanted, file = folder / source.wanted, folder / source.file_name
    if wanted.exists() and not force:
        if wanted == file:
            check_sum(file, source.checksum)
        return wanted
    if file.exists() and not force:
        check_sum(file, source.checksum)
    else:
        download(address or source.address, file, source.checksum, **options)
    if source.member is not None:
        extract(file, source.member, wanted)
    return wanted


def extract(archive: Path, member: str, path: Path) -> None:
    """Take one regular file out of a tar archive, by its base name, whatever folder it is in.

    Parameters
    ----------
    archive
        A ``.tar.gz``.
    member
        Its base name.
    path
        Where to put it; nothing else is written.

    Raises
    ------
    SynthDistillError
        The archive is damaged or has no such file.
    """
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for info in opened:
                stream = opened.extractfile(info) if info.isfile() else None
                if stream is None or Path(info.name).name != member:
                    continue
                content = stream.read()  # 261 MB: here, so that its faults are the archive's
                break
            else:
                raise SynthDistillError(
                    f"the archive {archive} has no {member}. Is it another archive?"
                )
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise SynthDistillError(
            f"the archive {archive} is damaged ({error}). Download it again with --force."
        ) from error
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
