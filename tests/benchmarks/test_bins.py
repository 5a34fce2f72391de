"""InsightFace's files, as Python 2 and 3 write them, and hostile ones."""

import os
import pickle
import struct

import numpy
import pytest

from bob.paper.ijcb2023_synthdistill.benchmarks.bins import read_bin, write_bin
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def python2_string(content):
    return b"T" + struct.pack("<i", len(content)) + content


def python2_array(content):
    """A numpy array of Python 2: its content is a string."""
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + b"J\xff\xff\xff\xff" * 2
    shape = b"(K\x01J" + struct.pack("<i", len(content)) + b"\x85"
    one = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return one + shape + dtype + b"K\x00tb" + b"\x89" + python2_string(content) + b"tb"


def python2(encode):
    """Write what Python 2's cPickle writes with protocol 2."""

    def write(path, images, labels):
        truth = b"".join(b"\x88" if label else b"\x89" for label in labels)
        path.write_bytes(b"\x80\x02](" + b"".join(map(encode, images)) + b"e](" + truth + b"e\x86.")

    return write


def python3(protocol, convert=bytes, labels_as=list, outer=tuple):
    def write(path, images, labels):
        content = outer([[convert(image) for image in images], labels_as(labels)])
        path.write_bytes(pickle.dumps(content, protocol=protocol))

    return write


def column(image):
    """What cv2.imencode gave in its older versions."""
    return numpy.frombuffer(image, numpy.uint8).reshape(-1, 1)


WRITERS = {
    "python 2": python2(python2_string),
    "python 2 numpy": python2(python2_array),
    "ours": write_bin,
    **{f"protocol {number}": python3(number) for number in (0, 2, 3, 5)},
    **{f"numpy {number}": python3(number, column) for number in (2, 4)},
    "list": python3(4, outer=list),
    "array of labels": python3(4, labels_as=numpy.array),
    "numpy labels": python3(4, labels_as=lambda labels: [numpy.bool_(label) for label in labels]),
    "integer labels": python3(4, labels_as=lambda labels: [int(label) for label in labels]),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_read(tmp_path, images, labels, writer):
    path = tmp_path / "lfw.bin"
    WRITERS[writer](path, images, labels)
    listed, sources = read_bin(path, 20, "LFW")
    assert [pair.genuine for pair in listed] == labels
    assert [pair.fold for pair in listed] == [k // 2 for k in range(20)]
    names = [name for pair in listed for name in pair[:2]]
    assert [sources[name].read() for name in names] == images
    if writer not in ("protocol 0", "protocol 2", "numpy 2"):  # escaped only in those
        assert all(source.content is None for source in sources.values())


def test_equal_images_are_one(tmp_path, images, labels):
    path = tmp_path / "lfw.bin"
    write_bin(path, [bytes(bytearray(images[k % 3])) for k in range(40)], labels)
    pairs, sources = read_bin(path, 20, "LFW")
    assert list(sources) == ["00000", "00001", "00002"]
    assert pairs[0].left == pairs[3].left == "00000"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (([b"x"] * 36, [True, False] * 9), "18 pairs, 9 of them genuine; LFW has 20 and 10"),
        (([b"x"] * 39, [True, False] * 10), "two images for each label, not 39 for 20 labels"),
        (([b"x"] * 39 + [b""], [True, False] * 10), "number 39"),
        (([numpy.zeros(4)] * 40, [True, False] * 10), "number 0"),
        (([b"x"] * 40, [1, 2] * 10), "true or false"),
        (([b"x"] * 40, {"a": 1}), "a list of images and a list of labels"),
    ],
)
def test_wrong_content(tmp_path, content, expected):
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(SynthDistillError, match=expected):
        read_bin(path, 20, "LFW")


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_is_refused_and_not_executed(tmp_path, images, labels):
    path, victim = tmp_path / "lfw.bin", tmp_path / "victim"
    path.write_bytes(pickle.dumps(([*images[:-1], Attack(str(victim))], labels)))
    with pytest.raises(SynthDistillError, match="mkdir"):
        read_bin(path, 20, "LFW")
    assert not victim.exists()
