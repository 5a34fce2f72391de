"""Headers that claim 10^12 elements are refused in words, within 64 MiB of memory.

The limit is the system's, on the address space: whoever asks for more gets an error, and an error
of memory is not accepted as a refusal.
"""

import hashlib
import io
import json
import pickle
import re
import struct
import zipfile
import zlib

import numpy
import pytest
import torch

from bob.paper.ijcb2023_synthdistill.benchmarks import bins, images, pair_lists
from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import LAST, load_checkpoint
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.recognition.student import load_student
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher

from . import readers
from .guards import asked_for_memory, limited

MANY = 10**12
SIDE = 10**6
MEMORY = 64 << 20


def generator_numbers(path):
    """Let each of the tensors in a pickle announce other numbers than it has."""
    read = readers.generator_pickle(path)
    # the end of the list of storages, before how many numbers follow
    content, count = re.subn(
        rb"(q\x01a\.)[\s\S]{6}\0\0", rb"\1" + struct.pack("<Q", MANY), path.read_bytes()
    )
    assert count > 10
    path.write_bytes(content)
    return read


def generator_bytes(path):
    path.write_bytes(b"\x80\x04" + pickle.BINBYTES8 + struct.pack("<Q", MANY) + b"abc.")
    return load_generator


def safetensors(read):
    def make(path):
        header = {"fc.weight": {"dtype": "F32", "shape": [MANY], "data_offsets": [0, 4 * MANY]}}
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        return read

    return make


def own_student(path):
    """Let a student's file ask for a large network of its user's own."""
    readers.own_student(path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + size]
    claim = text.replace(rb"\"num_classes\": 4", rb"\"num_classes\": %d" % MANY)
    assert claim != text
    path.write_bytes(struct.pack("<Q", len(claim)) + claim + content[8 + size :])
    return load_student


class _Shape:
    """Pickled as a tensor of 10^12 elements that are all one number."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        rebuild, (storage, *_) = self.tensor.__reduce_ex__(2)
        return rebuild, (storage, 0, (SIDE, SIDE), (0, 0), False, {})


def torch_shape(new):
    def make(path):
        state = {"fc.weight": _Shape(torch.zeros(300))}
        torch.save(state, path, _use_new_zipfile_serialization=new)
        return load_teacher

    return make


def _claiming(content):
    """Replace the number 300 by 10^12 in a pickle."""
    assert content.count(b"M\x2c\x01") >= 1
    return content.replace(b"M\x2c\x01", b"\x8a\x06" + struct.pack("<Q", MANY)[:6])


def torch_old(path):
    torch.save({"fc.weight": torch.zeros(300)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(_claiming(path.read_bytes()))
    return load_teacher


def _zip(value):
    content, result = io.BytesIO(), io.BytesIO()
    torch.save(value, content)
    with zipfile.ZipFile(content) as before, zipfile.ZipFile(result, "w") as after:
        for name in before.namelist():
            inside = before.read(name)
            after.writestr(name, _claiming(inside) if name.endswith("data.pkl") else inside)
    return result.getvalue()


def torch_zip(path):
    path.write_bytes(_zip({"fc.weight": torch.zeros(300)}))
    return load_teacher


def checkpoint(path):
    payload = _zip({"iteration": 1, "student": {"w": torch.zeros(300)}})
    digest = hashlib.sha256(payload).hexdigest().encode()
    (path.parent / LAST).write_bytes(b"synthdistill checkpoint 1\n" + digest + b"\n" + payload)
    return lambda path: load_checkpoint(path.parent)


def bin_bytes(path):
    path.write_bytes(b"\x80\x04(" + pickle.BINBYTES8 + struct.pack("<Q", MANY) + b"abc.")
    return lambda path: bins.read_bin(path, 20, "LFW")


class _Array:
    """Pickled as a numpy array of 10^12 elements."""

    def __reduce__(self):
        reconstruct, arguments, state = numpy.zeros(3, numpy.uint8).__reduce__()
        return reconstruct, arguments, (state[0], (MANY,), *state[2:])


def bin_array(path):
    path.write_bytes(pickle.dumps(([_Array()] * 40, numpy.array([True, False] * 10)), 2))
    return lambda path: bins.read_bin(path, 20, "LFW")


def png(aligned):
    def make(path):
        readers.image("PNG")(path)
        content = bytearray(path.read_bytes())
        content[16:24] = struct.pack(">II", SIDE, SIDE)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        path.write_bytes(content)
        return lambda path: images.load_image(images.ImageSource(str(path), aligned=aligned))

    return make


def jpeg(aligned):
    def make(path):
        readers.image("JPEG")(path)
        content = bytearray(path.read_bytes())
        at = content.index(b"\xff\xc0") + 5
        assert content[at : at + 4] == struct.pack(">HH", 112, 112)
        content[at : at + 4] = b"\xff" * 4  # 65,535 x 65,535: more it cannot claim
        path.write_bytes(content)
        return lambda path: images.load_image(images.ImageSource(str(path), aligned=aligned))

    return make


def lfw_folds(path):
    path.write_text(f"{MANY}\t{MANY}\nName\t1\t2\n")
    return lambda path: pair_lists.read_lfw(path, 20)


def lfw_image(path):
    path.write_text(f"10\t1\nName\t1\t{MANY}\n")
    return lambda path: pair_lists.read_lfw(path, 20)


CLAIMS = {
    "generator, pickle: numbers of its tensors": generator_numbers,
    "generator, pickle: bytes": generator_bytes,
    "generator, safetensors": safetensors(load_generator),
    "teacher, safetensors": safetensors(load_teacher),
    "student, safetensors": safetensors(load_student),
    "student of one's own: width": own_student,
    "teacher, torch archive: numbers": torch_zip,
    "teacher, torch archive: shape": torch_shape(True),
    "teacher, old torch file: numbers": torch_old,
    "teacher, old torch file: shape": torch_shape(False),
    "checkpoint": checkpoint,
    "benchmark, bytes": bin_bytes,
    "benchmark, arrays": bin_array,
    "image, PNG": png(False),
    "image, PNG, aligned": png(True),
    "image, JPEG": jpeg(False),
    "image, JPEG, aligned": jpeg(True),
    "LFW's list: folds": lfw_folds,
    "LFW's list: image": lfw_image,
}
"""What writes a file that claims too much, and gives its reader."""


@pytest.mark.parametrize("name", CLAIMS)
def test_a_header_that_claims_too_much_is_refused_in_words(name, tmp_path):
    path = tmp_path / "file"
    read = CLAIMS[name](path)
    with pytest.raises(SynthDistillError):
        read(path)  # imports what it needs
    with limited(MEMORY), pytest.raises(SynthDistillError) as caught:
        read(path)
    assert not asked_for_memory(caught.value), caught.value.message
    assert str(tmp_path) in caught.value.message


def test_the_limit_refuses_memory():
    with limited(MEMORY), pytest.raises(RuntimeError, match="memory") as caught:
        torch.zeros(16 * MEMORY)  # more than what the allocator may have kept for re-use
    assert asked_for_memory(caught.value)
