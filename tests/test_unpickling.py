"""The restricted unpickler: what honest files hold comes out, and nothing that files do happens."""

import os
import pickle
from collections import OrderedDict

import numpy
import pytest

from bob.paper.ijcb2023_synthdistill import unpickling
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

ALLOWED = {**unpickling.PLAIN, **unpickling.NUMPY, ("dnnlib", "EasyDict"): dict}


@pytest.fixture
def read(tmp_path):
    def read(content, **options):
        path = tmp_path / "file.pkl"
        path.write_bytes(content)
        return unpickling.read_pickle(path, ALLOWED, what="a test's pickle", **options)

    return read


PLAIN = {
    "numbers": [0, 1, -1, 255, 65536, -(2**31), 2**40, 2**200, 1.5, True, False, None],
    "text": ["", "é", "x" * 300],
    "bytes": [b"", b"\x00\xff", b"y" * 70000],
    "sets": [set(), {"a", "b"}],
    "nested": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[]], {}, OrderedDict(a=1)),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_survive(read, protocol):
    assert read(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize(("protocol", "order"), [(2, "C"), (5, "F")])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "?"])
def test_numpy_arrays_and_scalars_survive(read, protocol, dtype, order):
    array = numpy.asarray(numpy.arange(6).reshape(2, 3), dtype, order=order)
    found, scalar = read(pickle.dumps([array, array[1, 2]], protocol))
    assert found.value.dtype == array.dtype
    numpy.testing.assert_array_equal(found.value, array)
    assert scalar == array[1, 2]


class Payload:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, getattr], ids=lambda f: f.__name__)
def test_a_refused_name_is_in_the_error(read, tmp_path, protocol, function):
    marker = tmp_path / "executed"
    content = pickle.dumps(Payload(function, f"touch {marker}"), protocol)
    with pytest.raises(SynthDistillError, match=rf"asks for `\w+\.{function.__name__}`"):
        read(content)
    assert not marker.exists()


DTYPE, SMALL = b"cnumpy\ndtype\n", pickle.dumps(numpy.zeros((3, 5), "u1"), 2)
EASY = b"cdnnlib\nEasyDict\n"
STATES = [b"}X\x05\x00\x00\x00valueK\x01s", b"N}X\x05\x00\x00\x00valueK\x01s\x86"]
"""Attributes for the instruction BUILD, in a dictionary and as slots."""
HOSTILE = {
    "a terminal's command": (b"c\x1b[31mos\nsystem\n.", r"\\x1b\[31mos.system"),
    "a long name": (b"cos\n" + b"x" * 10**6 + b"\n.", r"`os\.x{150,250}`"),
    "a name inside a name": (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "dtype.__init__"),
    "a new object of a function": (DTYPE + b")\x81.", "must be a type"),
    "INST": (b"(S'echo'\nios\nsystem\n.", "asks for `os.system`"),
    "a persistent id": (b"Pos.system\n.", "persistent id instruction"),
    "an item of a name": (EASY + b"K\x00K\x01s.", "item assignment"),
    "an array of objects": (b"cnumpy\ndtype\n(S'O8'\ntR.", r"asks for `numpy.dtype\(O8\)`"),
    "more than its content": (SMALL.replace(b"K\3K\5", b"J\0\xca\x9a\x3bK\5"), "cannot reshape"),
    "too long bytes": (b"\x80\x05\x8e" + (10**13).to_bytes(8, "little") + b"abc.", "truncated"),
    "a web page": (b"<html>", "is not a test's pickle"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused(read, name):
    content, message = HOSTILE[name]
    with pytest.raises(SynthDistillError, match=message) as error:
        read(content)
    assert "file.pkl" in error.value.message
    assert "\x1b" not in error.value.message


def test_nothing_of_ours_is_changed_by_a_pickle(read):
    """Try to set attributes of each name that is allowed, and of what a call of it makes."""
    before = {name: dict(vars(made)) for name, made in ALLOWED.items()}
    arguments = [b")", b"(S'u1'\nt", b"((S'a'\nK\x01t\x85\x85\x85"]
    refused = 0
    for module, name in ALLOWED:
        named = f"c{module}\n{name}\n".encode()
        for target in (named, *(named + given + b"R" for given in arguments)):
            for state in STATES:
                try:
                    found = read(target + state + b"b.")
                except SynthDistillError:
                    refused += 1
                    continue
                # a dtype or array may ignore a state that is none
                assert getattr(found, "value", None) != 1
    assert refused > 2 * len(ALLOWED)
    for name, attributes in before.items():
        assert dict(vars(ALLOWED[name])) == attributes
