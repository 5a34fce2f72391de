"""The restricted unpickler: what honest files hold comes out, and nothing that files do happens."""

import io
import os
import pickle
import pickletools
import random
import resource
import struct
import time
from collections import OrderedDict

import numpy
import pytest

from bob.paper.ijcb2023_synthdistill import unpickling
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

ALLOWED = {**unpickling.PLAIN, **unpickling.NUMPY}
WHAT = "a test's pickle"


def read(path, content, **options):
    path.write_bytes(content)
    return unpickling.read_pickle(path, ALLOWED, what=WHAT, **options)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.pkl"


PLAIN = {
    "numbers": [0, 1, -1, 255, 65536, -(2**31), 2**40, 2**200, 1.5, True, False, None],
    "text": ["", "é", "x" * 300],
    "bytes": [b"", b"\x00\xff", b"y" * 70000],
    "sets": [set(), {"a", "b"}, frozenset({1, 2})],
    "nested": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[]], {}, OrderedDict(a=1)),
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_survive(file, protocol):
    # frozenset is a call of builtins.frozenset before protocol 4: nothing that we read has one
    values = PLAIN if protocol >= 4 else PLAIN | {"sets": [set(), {"a", "b"}]}
    if protocol < 2:
        values = {name: values[name] for name in ("numbers", "text", "nested")}
        values["nested"] = ((), (1,), (1, 2, 3, 4), [[]], {})
    assert read(file, pickle.dumps(values, protocol)) == values


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "f8", "?", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays_and_scalars_survive(file, protocol, dtype, order):
    array = numpy.asarray(numpy.arange(6).reshape(2, 3), dtype, order=order)
    found, scalar = read(file, pickle.dumps([array, array[1, 2]], protocol))
    assert found.value.dtype == array.dtype
    numpy.testing.assert_array_equal(found.value, array)
    assert scalar == array[1, 2]


@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_old_and_new_numpy_names(file, core):
    content = pickle.dumps(numpy.ones(3), 2)
    current = b"numpy._core." if b"numpy._core." in content else b"numpy.core."
    found = read(file, content.replace(current, core))
    numpy.testing.assert_array_equal(found.value, numpy.ones(3))


def test_python2_byte_strings(file):
    content = b"\x80\x02U\x03\x00\x01\xff."
    assert read(file, content) == "\x00\x01\xff"
    assert read(file, content, encoding="bytes") == b"\x00\x01\xff"


def test_a_python2_numpy_array(file):
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x06\xfa\xfb\xfc\xfd\xfe\xfftb."
    )
    expected = numpy.arange(250, 256, dtype=numpy.uint8).reshape(2, 3)
    for encoding in ("latin1", "bytes"):
        numpy.testing.assert_array_equal(read(file, content, encoding=encoding).value, expected)


class Payload:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "function", [os.system, eval, exec, getattr, __import__, open], ids=lambda f: f.__name__
)
def test_a_refused_name_is_in_the_error(file, tmp_path, protocol, function):
    marker = tmp_path / "executed"
    content = pickle.dumps(Payload(function, f"touch {marker}"), protocol)
    with pytest.raises(SynthDistillError, match=rf"asks for `\w+\.{function.__name__}`"):
        read(file, content)
    assert not marker.exists()


HOSTILE = {
    "the message is not a terminal's command": (b"c\x1b[31mos\nsystem\n.", r"\\x1b\[31mos.system"),
    "a call of a text": (b"X\x03\x00\x00\x00abc)R.", "calls a value of type `str`"),
    "a call of a result": (b"ccollections\nOrderedDict\n)R)R.", "calls a value"),
    "a new object of a text": (b"X\x03\x00\x00\x00abc)\x81.", "calls a value of type `str`"),
    "INST": (b"(S'echo'\nios\nsystem\n.", "asks for `os.system`"),
    "OBJ": (b"(cos\nsystem\nS'echo'\no.", "asks for `os.system`"),
    "the state of a list": (b"]}X\x01\x00\x00\x00aK\x01sb.", "sets the state of a value"),
    "the state of a name": (b"cnumpy\ndtype\n}b.", "sets the state of a value of type `Global`"),
    "append to a name": (b"cnumpy\ndtype\nK\x01a.", "a list was expected, not `Global`"),
    "store in a list": (b"]K\x00K\x01s.", "items are stored in a value of type `list`"),
    "an array of objects": (b"cnumpy\ndtype\n(S'O8'\ntR.", "holds an array of `O8`"),
    "an extension code": (b"\x80\x02\x82\x01.", "0x82 is no instruction"),
    "a persistent identifier": (b"\x80\x02K\x01Q.", "refers to objects outside"),
    "a tuple as a key": (b"\x80\x02})K\x01s.", "has a key of type `tuple`"),
    "a tuple of 2**60 elements as a key": (b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.", "`tuple`"),
    "a huge number as a key": (b"\x80\x02}\x8a\x09" + b"\x01" * 9 + b"K\x01s.", "huge number"),
    "a huge memo index": (b"K\x01p%d\n." % (2**61 - 1), "numbers its values strangely"),
    "a negative memo index": (b"K\x01p-1\n.", "numbers its values strangely"),
    "a memory full of sets": (b"\x80\x04" + b"\x8f" * 10**6 + b".", "than 162,500 instructions"),
    "copies of copies": (
        b"\x80\x02X\xe8\x03\x00\x00" + b"x" * 1000 + b"q\x00"
        b"c_codecs\nencode\nq\x01" + b"h\x01h\x00\x85R" * 1000 + b".",
        "copies its content",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused(file, name):
    content, message = HOSTILE[name]
    with pytest.raises(SynthDistillError, match=message):
        read(file, content)


def announced(operation, length, layout):
    return operation + struct.pack(layout, length)


LENGTHS = {
    "BINBYTES": announced(pickle.BINBYTES, 2**32 - 1, "<I"),
    "BINBYTES8": announced(pickle.BINBYTES8, 10**12, "<Q"),
    "BINUNICODE8": announced(pickle.BINUNICODE8, 2**63, "<Q"),
    "BYTEARRAY8": announced(pickle.BYTEARRAY8, 10**12, "<Q"),
    "FRAME": announced(pickle.FRAME, 10**12, "<Q"),
    "LONG4": announced(pickle.LONG4, 2**31 - 1, "<i"),
    "BINSTRING": announced(pickle.BINSTRING, -5, "<i"),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_an_announced_length_is_not_believed(file, name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SynthDistillError, match=r"announced|negative|ends too early"):
        read(file, b"\x80\x05" + LENGTHS[name] + b"abc.")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_a_huge_memo_index_costs_nothing(file):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    content = b"\x80\x02K\x07" + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1) + b"."
    assert read(file, content) == 7
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_an_array_larger_than_its_content(file):
    array = numpy.zeros((3, 5), numpy.uint8)
    content = pickle.dumps(array, 2).replace(b"K\x03K\x05", b"J\x00\xca\x9a\x3bK\x05")
    with pytest.raises(SynthDistillError, match="cannot reshape"):
        read(file, content)


@pytest.mark.parametrize("nest", [b"]", b"(", b"}K\x00", b"\x85", b"\x8f"], ids=ascii)
def test_deep_nesting_ends(file, nest, monkeypatch):
    monkeypatch.setattr(unpickling, "FREE_OPERATIONS", 10**6)
    depth = 200_000
    content = b"\x80\x04)" + nest * depth
    close = {b"]": b"a", b"(": b"t", b"}K\x00": b"s", b"\x85": b"", b"\x8f": b"0"}[nest]
    start = time.monotonic()
    value = read(file, content + b"]" + close * depth + b".")
    assert value is not None
    del value
    assert time.monotonic() - start < 20


def test_instructions_are_limited(file, monkeypatch):
    monkeypatch.setattr(unpickling, "MAX_OPERATIONS", 1000)
    with pytest.raises(SynthDistillError, match="more than 1,000 instructions"):
        read(file, b"\x80\x04" + b"\x8f0" * 1000 + b"N.")


def test_every_truncation_is_an_error_of_ours(file):
    content = pickle.dumps([PLAIN, numpy.arange(4)], 4)
    for length in range(0, len(content), 1 if len(content) < 2000 else 37):
        with pytest.raises(SynthDistillError, match=r"file\.pkl is not a test's pickle"):
            read(file, content[:length])


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"<html>", b"PK\x03\x04", bytes(20)], ids=ascii
)
def test_other_files_are_named(file, content):
    with pytest.raises(SynthDistillError, match=r"file\.pkl is not a test's pickle.*\(at byte \d"):
        read(file, content)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(SynthDistillError, match=r"cannot read .*Expected a test's pickle"):
            unpickling.read_pickle(path, ALLOWED, what=WHAT)


def test_random_changes_give_a_value_or_our_error(file):
    """Mutate honest pickles: whatever comes, it is a value or a `SynthDistillError`."""
    generator = random.Random(0)
    seeds = [
        pickle.dumps([PLAIN["numbers"], PLAIN["nested"], numpy.arange(4)], protocol)
        for protocol in (2, 3, 4, 5)
    ]
    operations = [code.code.encode("latin1") for code in pickletools.opcodes]
    outcomes = {True: 0, False: 0}
    for _ in range(3000):
        content = bytearray(generator.choice(seeds))
        for _ in range(generator.randrange(1, 5)):
            position = generator.randrange(len(content))
            content[position : position + generator.randrange(3)] = generator.choice(operations)
        try:
            unpickling.run(
                lambda content=content: unpickling.RestrictedUnpickler(
                    io.BytesIO(content), ALLOWED
                ).load(),
                path="mutant",
                what=WHAT,
            )
            outcomes[True] += 1
        except SynthDistillError:
            outcomes[False] += 1
    assert all(outcomes.values())  # else the mutations are too weak or too strong to test anything
