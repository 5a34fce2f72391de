"""Every reader of files of others meets damaged ones: an error in words, or success, and no other.

Each real format is truncated and has bits flipped, from a fixed seed.
"""

import hashlib
import io
import random
import resource
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

TRUNCATIONS, FLIPS = 10, 60
SLOW = {"agedb.mat": (3, 5)}
"""How many damaged files of each kind; fewer where each is read in a process of its own."""

MEMORY = 4 << 30
"""Bytes that a reader may add to the address space before it gets an error."""


def generator(path):
    path.write_bytes((Path(__file__).parent / "data" / "stylegan2-micro.pkl").read_bytes())
    return load_generator


def teacher(form):
    def make(path):
        network = IResNet((1, 1, 1, 1), widths=(2, 2, 2, 2), embedding_size=4).eval()
        content = io.BytesIO()
        torch.save(network.state_dict(), content, _use_new_zipfile_serialization=form != "old")
        path.write_bytes(content.getvalue())
        return load_teacher

    return make


def student(path):
    save_student(path, create_student("test_efficientnet", "random", embedding_size=4))
    return load_student


def checkpoint(path):
    save_checkpoint(path.parent, {"epoch": 1, "rows": [], "student": {"w": torch.ones(9)}})
    return lambda damaged: load_checkpoint(damaged.parent)


def image(form):
    def make(path):
        path.write_bytes(encode(0, kind=form))
        return lambda damaged: images.load_image(images.ImageSource(str(damaged)))

    return make


def benchmark_bytes(path):
    bins.write_bin(path, [encode(0, kind="JPEG")[:300] for _ in range(40)], [True, False] * 10)
    return lambda damaged: bins.read_bin(damaged, 20, "LFW")


def agedb_list(path):
    splits = numpy.empty((1, 10), dtype=object)
    for fold in range(10):
        names = numpy.empty((2, 2), dtype=object)
        names[:] = [["a", "b"], ["c", "d"]]
        splits[0, fold] = {"pairs": names, "labels": numpy.array([[1.0, -1.0]])}
    scipy.io.savemat(path, {"splits": splits}, appendmat=False)
    return lambda damaged: agedb.read_agedb(damaged, 20)


def lfw_list(path):
    rows = "".join(f"Name_{k}\t1\t2\nName_{k}\t1\tOther_{k}\t3\n" for k in range(10))
    path.write_text("10\t1\n" + rows)
    return lambda damaged: pair_lists.read_lfw(damaged, 20)


READERS = {
    "stylegan2.pkl": generator,
    **{f"teacher.{form}": teacher(form) for form in ("zip", "old")},
    "student.safetensors": student,
    "last.ckpt": checkpoint,
    "bytes.bin": benchmark_bytes,
    "agedb.mat": agedb_list,
    "pairs.txt": lfw_list,
    **{f"image.{form}": image(form) for form in ("JPEG", "PNG", "BMP", "WEBP")},
}


def seal(name, content):
    """Correct the checksum of a checkpoint, so that its reader goes on."""
    if name != "last.ckpt" or content.count(b"\n") < 2:
        return content
    magic, _, payload = content.split(b"\n", 2)
    return b"\n".join([magic, hashlib.sha256(payload).hexdigest().encode(), payload])


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_words(name, tmp_path):
    path = tmp_path / name
    read = READERS[name](path)
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
