"""Every reader of files of others meets damaged ones: an error in words, or success, and no other.

Each real format is truncated and has bits flipped, from a fixed seed.
"""

import functools
import hashlib
import random
import resource
import shutil
from pathlib import Path

import numpy
import pytest
import scipy.io
import torch
from small_images import encode

from bob.paper.ijcb2023_synthdistill.benchmarks import agedb, bins, images, pair_lists
from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import load_checkpoint, save_checkpoint
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import (
    create_student,
    load_student,
    save_student,
)
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher

MICRO = Path(__file__).parent / "data" / "stylegan2-micro.pkl"
TRUNCATIONS, FLIPS = 10, 60
SLOW = {"agedb.mat": (3, 5)}
"""How many damaged files of each kind; fewer where each is read in a process of its own."""

MEMORY = 4 << 30
"""Bytes that a reader may add to the address space before it gets an error."""


def teacher(path, form):
    network = IResNet((1, 1, 1, 1), widths=(2, 2, 2, 2), embedding_size=4).eval()
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=form == "zip")


def checkpoint(path):
    save_checkpoint(path.parent, {"epoch": 1, "rows": [], "student": {"w": torch.ones(9)}})


def agedb_list(path):
    splits = numpy.empty((1, 10), dtype=object)
    for fold in range(10):
        names = numpy.array([["a", "b"], ["c", "d"]], dtype=object)
        splits[0, fold] = {"pairs": names, "labels": numpy.array([[1.0, -1.0]])}
    scipy.io.savemat(path, {"splits": splits}, appendmat=False)


READERS = {
    "stylegan2.pkl": (lambda path: shutil.copy(MICRO, path), load_generator),
    **{
        f"teacher.{form}": (functools.partial(teacher, form=form), load_teacher)
        for form in ("zip", "old")
    },
    "student.safetensors": (
        lambda path: save_student(path, create_student("test_efficientnet", "random")),
        load_student,
    ),
    "last.ckpt": (checkpoint, lambda path: load_checkpoint(path.parent)),
    "lfw.bin": (
        lambda path: bins.write_bin(path, [encode(0)[:300]] * 40, [True, False] * 10),
        lambda path: bins.read_bin(path, 20, "LFW"),
    ),
    "agedb.mat": (agedb_list, lambda path: agedb.read_agedb(path, 20)),
    "pairs.txt": (
        lambda path: path.write_text("10\t1\n" + "Name\t1\t2\nName\t1\tOther\t3\n" * 10),
        lambda path: pair_lists.read_lfw(path, 20),
    ),
    **{
        f"image.{form}": (
            lambda path, form=form: path.write_bytes(encode(0, kind=form)),
            lambda path: images.load_image(images.ImageSource(str(path))),
        )
        for form in ("JPEG", "PNG", "BMP", "WEBP")
    },
}
"""What writes each kind of file, and what reads it."""


def seal(name, content):
    """Correct the checksum of a checkpoint, so that its reader goes on."""
    if name != "last.ckpt" or content.count(b"\n") < 2:
        return content
    magic, _, payload = content.split(b"\n", 2)
    return b"\n".join([magic, hashlib.sha256(payload).hexdigest().encode(), payload])


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_words(name, tmp_path):
    path = tmp_path / name
    write, read = READERS[name]
    write(path)
    valid = path.read_bytes()
    read(path)
    numbers = random.Random(0)
    truncations, flips = SLOW.get(name, (TRUNCATIONS, FLIPS))
    damaged = [valid[: numbers.randrange(len(valid))] for _ in range(truncations)]
    for _ in range(flips):
        content = bytearray(valid)
        for _ in range(numbers.randint(1, 3)):
            # half of them at the beginning, where the structure is
            end = len(valid) if numbers.random() < 0.5 else min(len(valid), 2000)
            content[numbers.randrange(end)] ^= 1 << numbers.randrange(8)
        damaged.append(bytes(content))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    messages = []
    try:
        for content in damaged:
            path.write_bytes(seal(name, content))
            try:
                read(path)
            except SynthDistillError as error:
                messages.append(error.message)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert len(messages) > truncations // 2
    assert all(message.isprintable() for message in messages)
