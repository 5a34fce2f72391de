"""Read pickles of others without executing anything of them.

Generators and benchmarks circulate as pickles, and a pickle is a program that may call whatever it
names. Here it gets only the names of a short list, each of which makes an inert object: it holds
what it was given. Whoever asks for another name is refused. What remains possible is to waste
memory and time, as a damaged file of any kind can.
"""

import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy

from .files import SynthDistillError, reading

Allowed = Mapping[tuple[str, str], Callable[..., Any]]
"""What a pickle may name: ``(module, name)`` to a function or class without effects.

Classes derive from :py:class:`Inert`, or are ``dict``: nothing else may become a new object.
"""


class Inert:
    """An object whose attributes a pickle cannot set, but by a ``__setstate__`` of its own class.

    Without one the pickle's instruction BUILD would set any attribute of it.
    """

    def __setstate__(self, state: Any) -> None:
        raise TypeError(f"the state of a {type(self).__name__} is set")


class _Function(Inert):
    """A function or class that a pickle may call, and nothing else."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Reader(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, allowed: Allowed, encoding: str) -> None:
        super().__init__(stream, encoding=encoding)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        try:
            found = self._allowed[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None
        # NEWOBJ wants a class; of this one a pickle can neither set nor change anything
        return dict if found is dict else _Function(found)


class _RefusedError(Exception):
    """The pickle asks for something that no honest file of its kind needs."""


def read_pickle(path: Path | str, allowed: Allowed, *, what: str, encoding: str = "latin1") -> Any:
    """Read plain values, and whatever ``allowed`` makes. Nothing of the file is executed.

    ``what`` names what the file should be, for messages; ``encoding`` is that of byte strings
    written by Python 2: ``bytes`` leaves them as they are.
    """
    with reading(path, what) as stream, explained(path, what):
        return _Reader(stream, allowed, encoding).load()


@contextmanager
def explained(path: Path | str, what: str) -> Iterator[None]:
    """Turn whatever a damaged or hostile file makes its reader raise into words."""
    try:
        yield
    except SynthDistillError:
        raise
    except _RefusedError as error:
        raise SynthDistillError(
            f"{path} asks for `{quoted(error)}`, which {what} has no need of. Nothing of it was "
            "executed. Get the file from its official source again, and do not open this one with "
            "other programs."
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {quoted(error)}".rstrip(": ")
        raise SynthDistillError(
            f"{path} is not {what}, or it is truncated or damaged: {reason}. Download or copy it "
            "again."
        ) from error


def quoted(foreign: object) -> str:
    """Show what a file says: short, and with no codes that a terminal would obey."""
    return ascii(str(foreign)[:200])[1:-1]


def _latin1(text: Any) -> Any:
    """Give the text of a byte string that Python 2 wrote."""
    return text.decode("latin1") if isinstance(text, bytes) else text


class _Dtype(Inert):
    """A numpy dtype of plain numbers; the byte order comes as its state."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not re.fullmatch(r"[<>=|]?[biufc?]\d{0,2}", _latin1(code)):
            raise _RefusedError(f"numpy.dtype({_latin1(code)})")
        self.value = numpy.dtype(_latin1(code))

    def __setstate__(self, state: Any) -> None:
        if (order := _latin1(state[1])) in (">", "<"):
            self.value = numpy.dtype(order + self.value.str[1:])


class NumpyArray(Inert):
    """A numpy array of numbers: ``value``."""

    def __init__(self, *_: Any) -> None:
        self.value = numpy.empty(0, numpy.uint8)

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, content = state[-4:]
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: _Dtype, shape: Any, order: str = "C") -> numpy.ndarray:
    if isinstance(content, str):  # a byte string that Python 2 wrote
        content = content.encode("latin1")
    return numpy.frombuffer(content, dtype.value).reshape(shape, order="F" if order == "F" else "C")


def _array_of_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> NumpyArray:
    array = NumpyArray()
    array.value = _array(content, dtype, shape, order)
    return array


PLAIN: Allowed = {
    # protocol 2 stores bytes as text, each character a byte
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),
    ("__builtin__", "bytes"): lambda: b"",
    ("builtins", "bytes"): lambda: b"",
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): dict,
}
"""Plain values that the older protocols write as calls."""

NUMPY: Allowed = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): NumpyArray,
    **{
        (f"numpy.{core}.{module}", name): make
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "scalar", lambda dtype, content: _array(content, dtype, ()).item()),
            ("multiarray", "_reconstruct", NumpyArray),
            ("numeric", "_frombuffer", _array_of_buffer),
        )
    },
}
"""numpy's arrays (as :py:class:`NumpyArray`) and scalars (as Python's), of numbers only."""
