"""Write miniature benchmarks in the layouts in which the real ones are found."""

import csv
import functools
import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from tqdm import tqdm

from .. import faces
from ..benchmarks.bins import write_bin
from ..benchmarks.images import DRAWN_MARK
from ..benchmarks.layouts import EYES_COLUMNS, EYES_FILE
from ..files import SynthDistillError, atomic_write, read_record, write_record
from .framing import TEMPLATE, eye_positions
from .lists import FORMS, image_files, write_list
from .miniature import Miniature, draw
from .renderer import render

LAYOUTS = ("bin", "aligned", "unaligned")
"""InsightFace's files; aligned faces with the official list; photographs with eye positions."""

MARKER = "toyfaces.json"
"""File that tells a folder of miniature benchmarks, and how they were drawn."""

PHOTO_SIZE = 250
"""Height and width of unaligned photographs, in pixels: that of LFW."""

_COMMENT = f"{DRAWN_MARK.decode()}: drawn by bob.paper.ijcb2023_synthdistill, shows nobody"

# images that one core draws at once: some progress to be seen, and little to wait for at the end
_BATCH = 32


def place(folder: Path, layout: str, name: str) -> Path:
    """Say where a benchmark lies in a folder of miniatures: a file, or a folder of its own."""
    return folder / layout / (f"{name.replace('-', '_')}.bin" if layout == "bin" else name)


def write(
    folder: Path,
    names: Sequence[str],
    layouts: Sequence[str],
    *,
    seed: int,
    pairs_per_fold: int,
) -> list[Path]:
    """Draw miniatures of ``names``, ``lfw`` to ``agedb-30``; give their files and folders.

    Same seed, same bytes. What is there already, drawn the same way, is kept; a folder with
    anything else is refused.
    """
    settings = {"seed": seed, "pairs_per_fold": pairs_per_fold}
    miniatures = {name: draw(name, seed, pairs_per_fold) for name in names}
    found = read_settings(folder)
    if found is None:
        write_record(folder / MARKER, {**settings, "version": version()})
    elif found != settings:
        raise SynthDistillError(
            f"{folder} holds miniatures that were drawn otherwise, {found} instead of {settings}: "
            "choose another folder, or remove this one."
        )
    for name, miniature in miniatures.items():
        missing = {layout for layout in layouts if not place(folder, layout, name).exists()}
        files = image_files(name, miniature)
        draw_images = functools.partial(_encode, miniature, name)
        aligned = draw_images(faces.FACE_SIZE, "aligned") if missing & {"bin", "aligned"} else []
        if "bin" in missing:
            images = [aligned[image] for pair in miniature.pairs for image in pair[:2]]
            write_bin(place(folder, "bin", name), images, [pair[2] for pair in miniature.pairs])
        if "aligned" in missing:
            with atomic_write(place(folder, "aligned", name)) as new:
                _write_folder(new, name, miniature, files, aligned)
        if "unaligned" in missing:
            with atomic_write(place(folder, "unaligned", name)) as new:
                photographs = draw_images(PHOTO_SIZE, "unaligned")
                _write_folder(new, name, miniature, files, photographs)
                _write_eyes(new / EYES_FILE, miniature, files)
    return [place(folder, layout, name) for name in names for layout in layouts]


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Read how the benchmarks of a folder were drawn, as :py:func:`write` takes it.

    None if there is no file at all. A folder that holds something else is refused.
    """
    try:
        # Snakemake makes the folders of what is to be drawn
        if not any(path.is_file() for path in folder.rglob("*")):
            return None
        content = read_record(folder / MARKER)
        return {name: int(content[name]) for name in ("seed", "pairs_per_fold")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthDistillError(
            f"{folder} holds something else than miniatures (no `{MARKER}`): choose a new folder."
        ) from error


@functools.cache
def version() -> str:
    """Digest what the pixels depend on, so that a cache of another version is not used."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _encode(miniature: Miniature, name: str, size: int, framing: str) -> list[bytes]:
    """Render all images and encode them as JPEG, on all cores.

    Each core draws pictures of its own: threads within one small operation would cost more than
    they gain, and far more on a busy machine.
    """

    @torch.inference_mode()
    def encode(part: slice) -> list[bytes]:
        images = render(miniature.identities[part], miniature.conditions[part], size, framing)
        streams = [io.BytesIO() for _ in images]
        for pixels, stream in zip(faces.to_uint8(images).permute(0, 2, 3, 1), streams, strict=True):
            picture = Image.fromarray(pixels.numpy())
            picture.save(stream, "JPEG", quality=95, subsampling=0, comment=_COMMENT)
        return [stream.getvalue() for stream in streams]

    count, threads = len(miniature.photographs), torch.get_num_threads()
    parts = [slice(first, first + _BATCH) for first in range(0, count, _BATCH)]
    what = f"drawing {framing} toyfaces-{name}"
    torch.set_num_threads(1)
    try:
        with (
            ThreadPoolExecutor(_cores(), "draw", torch.set_num_threads, (1,)) as executor,
            tqdm(total=count, desc=what, unit="image", disable=None) as progress,
        ):
            encoded: list[bytes] = []
            for images in executor.map(encode, parts):
                encoded += images
                progress.update(len(images))
            return encoded
    finally:
        torch.set_num_threads(threads)


def _cores() -> int:
    """Count the cores that this process may use; macOS does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_folder(
    folder: Path, name: str, miniature: Miniature, files: list[str], images: list[bytes]
) -> None:
    folder.mkdir()
    write_list(name, folder, miniature, files)
    for file, content in zip(files, images, strict=True):
        path = folder / FORMS[name][0] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write_eyes(path: Path, miniature: Miniature, files: list[str]) -> None:
    """Write where the eyes of photographs are: left in the image first, (y, x).

    The renderer counts pixels from their corners, Bob's FaceCrop (as all who warp images by
    positions) from their centres. So these are the points that a similarity takes to the positions
    of the template when both are counted from centres.
    """
    eyes = eye_positions(miniature.conditions, PHOTO_SIZE, "unaligned")
    points = eyes.numpy().astype(float) @ numpy.array([1j, 1.0])
    factor = (TEMPLATE[1] - TEMPLATE[0]) / (points[:, 1:] - points[:, :1])
    moved = points + (0.5 + 0.5j) / factor - (0.5 + 0.5j)
    positions = numpy.stack([moved.imag, moved.real], axis=-1).reshape(-1, 4)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(EYES_COLUMNS)
        for file, row in zip(files, positions, strict=True):
            writer.writerow([file, *(f"{value:.4f}" for value in row)])
