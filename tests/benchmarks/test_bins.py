"""InsightFace's files, as Python 2 and 3 write them, and hostile ones."""

import os
import pickle
import struct

import numpy
import pytest

from bob.paper.ijcb2023_synthdistill.benchmarks.bins import read_bin, write_bin
from bob.paper.ijcb2023_synthdistill.benchmarks.images import decode, load_image
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def python2_string(content):
    return b"T" + struct.pack("<i", len(content)) + content


def write_python2(path, images, labels):
    """Write what Python 2's cPickle writes with protocol 2: strings are bytes."""
    body = b"\x80\x02]q\x00(" + b"".join(map(python2_string, images)) + b"e]q\x01("
    body += b"".join(b"\x88" if label else b"\x89" for label in labels) + b"e\x86q\x02."
    path.write_bytes(body)


def write_python2_numpy(path, images, labels):
    """The same with numpy arrays of Python 2: their content is a string."""
    one = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
    dtype += b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    body = b"\x80\x02](" + b"".join(
        one
        + b"(K\x01"
        + b"J"
        + struct.pack("<i", len(image))
        + b"\x85"
        + dtype
        + b"\x89"
        + python2_string(image)
        + b"tb"
        for image in images
    )
    path.write_bytes(
        body + b"e](" + b"".join(b"\x88" if label else b"\x89" for label in labels) + b"e\x86."
    )


def write_python3(protocol, convert=bytes, labels_as=list, outer=tuple):
    def write(path, images, labels):
        content = outer([[convert(image) for image in images], labels_as(labels)])
        path.write_bytes(pickle.dumps(content, protocol=protocol))

    return write


def column(image):
    """What cv2.imencode gave in its older versions."""
    return numpy.frombuffer(image, numpy.uint8).reshape(-1, 1)


WRITERS = {
    "python 2": write_python2,
    "python 2 numpy": write_python2_numpy,
    "ours": write_bin,
    **{f"protocol {number}": write_python3(number) for number in range(6)},
    **{f"numpy {number}": write_python3(number, column) for number in (2, 3, 4, 5)},
    "list": write_python3(4, outer=list),
    "array of labels": write_python3(4, labels_as=numpy.array),
    "numpy labels": write_python3(
        4, labels_as=lambda labels: [numpy.bool_(label) for label in labels]
    ),
    "integer labels": write_python3(4, labels_as=lambda labels: [int(label) for label in labels]),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_read(tmp_path, images, labels, writer):
    path = tmp_path / "lfw.bin"
    WRITERS[writer](path, images, labels)
    listed, sources = read_bin(path, 20, "LFW")
    assert [pair.genuine for pair in listed] == labels
    assert [pair.fold for pair in listed] == [k // 2 for k in range(20)]
    for k, pair in enumerate(listed):
        for name, expected in zip(pair[:2], images[2 * k : 2 * k + 2], strict=True):
            assert numpy.array_equal(load_image(sources[name]), decode(expected, aligned=True))
    if writer not in ("protocol 0", "protocol 1", "protocol 2", "numpy 2"):
        # escaped images only exist in those
        assert all(source.content is None for source in sources.values())


def test_equal_images_are_one(tmp_path, images, labels):
    path = tmp_path / "lfw.bin"
    listed = [images[k % 3] for k in range(40)]
    write_bin(path, [bytes(bytearray(image)) for image in listed], labels)
    pairs, sources = read_bin(path, 20, "LFW")
    assert list(sources) == ["00000", "00001", "00002"]
    assert pairs[0].left == pairs[3].left == "00000"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (([b"x"] * 36, [True, False] * 9), "18 pairs, 9 of them genuine; LFW has 20 and 10"),
        (([b"x"] * 40, [True] * 20), "20 pairs, 20 of them genuine"),
        (([b"x"] * 39, [True, False] * 10), "39 images and 20 labels: two images for each"),
        (([b"x"] * 39 + [b""], [True, False] * 10), "number 39"),
        (([b"x"] * 39 + [7], [True, False] * 10), "number 39"),
        (([numpy.zeros(4)] * 40, [True, False] * 10), "number 0"),
        (([b"x"] * 40, [1, 2] * 10), "true or false"),
        (([b"x"] * 40, {"a": 1}), "a list of labels"),
        (([b"x"] * 40,), "a pair of lists"),
        ("no", "a pair of lists"),
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


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_and_not_executed(tmp_path, images, labels, protocol):
    path = tmp_path / "lfw.bin"
    victim = tmp_path / "victim"
    content = ([*images[:-1], Attack(str(victim))], labels)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(SynthDistillError, match="mkdir"):
        read_bin(path, 20, "LFW")
    assert not victim.exists()


def test_truncated_and_missing(tmp_path, images, labels):
    path = tmp_path / "lfw.bin"
    write_bin(path, images, labels)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SynthDistillError, match="truncated"):
        read_bin(path, 20, "LFW")
    path.write_bytes(b"")
    with pytest.raises(SynthDistillError, match=str(path)):
        read_bin(path, 20, "LFW")
    with pytest.raises(SynthDistillError, match="cannot read"):
        read_bin(tmp_path / "none.bin", 20, "LFW")
