"""Read pickles that strangers wrote, without executing anything of them.

Generators and benchmarks circulate as pickles, and a pickle is a program. This reader runs that
program on an interpreter that can build plain values and what a table of allowed names says, and
nothing else. Memory is bounded by the size of the file: no length that a file claims is believed.
"""

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy

from .files import SynthDistillError, reading

Allowed = Mapping[tuple[str, str], Callable[..., Any]]
"""What a pickle may ask for: ``(module, name)`` to a function without effects."""

FREE_OPERATIONS = 100_000
BYTES_PER_OPERATION = 16
MAX_OPERATIONS = 5_000_000
"""How many instructions a pickle may have: some, and more if the file is large, up to a maximum.

A published generator has one for 10,000 bytes, a benchmark of small images one for 500. Many on few
bytes only serve to fill the memory: an empty set is one byte in the file and 216 here."""


class Global:
    """A name that a pickle refers to: it stands for the object, which is never looked up.

    Parameters
    ----------
    module
        The module as the pickle spells it.
    name
        The name inside that module.
    make
        What a call of it does.
    """

    __slots__ = ("make", "module", "name")

    def __init__(self, module: str, name: str, make: Callable[..., Any]) -> None:
        self.module = module
        self.name = name
        self.make = make

    def __str__(self) -> str:
        return _printable(f"{self.module}.{self.name}")


class Buildable:
    """Base class of the objects whose state a pickle may set: what allowed functions return."""

    def build(self, state: Any) -> None:
        """Take the state that the pickle gives, and check it."""
        raise NotImplementedError


class _RefusedError(Exception):
    """The pickle asks for something that no honest file of its kind needs."""


class _DamagedError(Exception):
    """The bytes are no pickle, or end too early."""


_PLAIN_OPERATIONS = (  # noqa: SIM905 - fifty quoted names are harder to read
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING "
    "BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST "
    "EMPTY_DICT EMPTY_SET MARK POP POP_MARK DUP GET BINGET LONG_BINGET BINPUT LONG_BINPUT "
    "MEMOIZE PROTO GLOBAL STACK_GLOBAL"
).split()


class RestrictedUnpickler(pickle._Unpickler):
    """Run one pickle of a stream; the instructions not listed here do not exist.

    The pure-Python class of the standard library is the base: its memo is a dictionary, so a huge
    memo index costs nothing, and each instruction is a method that can be replaced.

    Parameters
    ----------
    stream
        Where to read: seekable; one byte beyond the pickle is never touched.
    allowed
        The names that the pickle may ask for.
    encoding
        How byte strings written by Python 2 are decoded; ``bytes`` leaves them as they are.
    persistent
        What a persistent identifier becomes; without it they are refused.
    room
        Bytes of the file that the pickle is a part of, by which its instructions are counted; by
        default those of the stream.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        for name in _PLAIN_OPERATIONS
    }

    memo: dict[int, Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self,
        stream: BinaryIO,
        allowed: Allowed,
        *,
        encoding: str = "latin1",
        persistent: Callable[[Any], Any] | None = None,
        room: int | None = None,
    ) -> None:
        super().__init__(stream, encoding=encoding)
        self._stream = stream
        self._allowed = allowed
        self._persistent = persistent
        position = stream.tell()
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(position)
        room = self._size if room is None else room
        self._max_operations = min(FREE_OPERATIONS + room // BYTES_PER_OPERATION, MAX_OPERATIONS)
        # calls may copy what they are given: in total no more than a few times the file
        self._copies_left = 4 * room + 65536

    def load(self) -> Any:
        """Run the pickle and give its result."""
        self.metastack: list[list[Any]] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        self.read = self._read
        self.readline = self._readline
        self.proto = 0
        for _ in range(self._max_operations):
            operation = self._read(1)[0]
            if operation == pickle.STOP[0]:
                return self.stack.pop()
            method = self.dispatch.get(operation)
            if method is None:
                raise _DamagedError(f"the byte 0x{operation:02x} is no instruction of such a file")
            method(self)
        raise _RefusedError(f"has more than {self._max_operations:,} instructions")

    def _read(self, length: int) -> bytes:
        if length > io.DEFAULT_BUFFER_SIZE:
            self._expect(length)  # before memory is taken for them
        content = self._stream.read(length)
        if len(content) < length:
            raise _DamagedError("it ends too early")
        return content

    def _readline(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise _DamagedError("it ends too early")
        return line

    def _expect(self, length: int) -> None:
        left = self._size - self._stream.tell()
        if length > left:
            raise _DamagedError(f"{length:,} more bytes are announced, and {left:,} are left")

    def find_class(self, module: str, name: str) -> Global:
        """Look a name up in the table, and only there."""
        try:
            return Global(module, name, self._allowed[module, name])
        except KeyError:
            raise _RefusedError(f"asks for `{_printable(f'{module}.{name}')}`") from None

    def persistent_load(self, pid: Any) -> Any:
        """Resolve a persistent identifier, where the caller said how."""
        if self._persistent is None:
            raise _RefusedError("refers to objects outside of the file")
        return self._persistent(pid)

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Global):
            raise _RefusedError(f"calls a value of type `{type(function).__name__}`")
        if type(arguments) is not tuple:
            raise _DamagedError(f"`{function}` is called with no tuple of arguments")
        self._charge(arguments)
        return function.make(*arguments)

    def _charge(self, arguments: tuple[Any, ...]) -> None:
        for argument in arguments:
            if isinstance(argument, str | bytes | bytearray | list | tuple | dict | set):
                self._copies_left -= len(argument)
        if self._copies_left < 0:
            raise _RefusedError("copies its content again and again")

    def _load_put(self) -> None:
        index = int(self.readline())
        if not 0 <= index < 2**32:  # larger ones can be made to share one hash
            raise _RefusedError("numbers its values strangely")
        self.memo[index] = self.stack[-1]

    def _load_frame(self) -> None:
        # frames only help to read ahead; that what they announce is there is checked all the same
        self._expect(int.from_bytes(self._read(8), "little"))

    def _load_bytearray(self) -> None:
        self.append(self._read(int.from_bytes(self._read(8), "little")))

    def _load_persistent(self) -> None:
        self.append(self.persistent_load(self.stack.pop()))

    def _load_call(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def _load_old_call(self) -> None:
        function, *arguments = self.pop_mark()
        self.append(self._call(function, tuple(arguments)))

    def _load_old_global_call(self) -> None:
        module = self.readline()[:-1].decode("ascii")
        function = self.find_class(module, self.readline()[:-1].decode("ascii"))
        arguments = tuple(self.pop_mark())
        self.append(self._call(function, arguments))

    def _load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Buildable):
            self._charge(state if type(state) is tuple else (state,))
            target.build(state)
        elif type(target) not in (dict, OrderedDict):
            # attributes of a dictionary (a state dict's version numbers) are ignored: every other
            # object would really get them
            raise _RefusedError(f"sets the state of a value of type `{type(target).__name__}`")

    def _load_append(self) -> None:
        value = self.stack.pop()
        _exactly(list, self.stack[-1]).append(value)

    def _load_appends(self) -> None:
        values = self.pop_mark()
        _exactly(list, self.stack[-1]).extend(values)

    def _load_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._store([key, value])

    def _load_items(self) -> None:
        self._store(self.pop_mark())

    def _load_dict(self) -> None:
        values = self.pop_mark()
        self.append({})
        self._store(values)

    def _store(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict):
            raise _DamagedError(f"items are stored in a value of type `{type(target).__name__}`")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def _load_additems(self) -> None:
        values = self.pop_mark()
        _exactly(set, self.stack[-1]).update(map(_key, values))

    def _load_frozenset(self) -> None:
        values = self.pop_mark()  # before `append` is looked up: it changes with the stack
        self.append(frozenset(map(_key, values)))

    for _operation, _method in {
        pickle.FRAME: _load_frame,
        pickle.PUT: _load_put,
        pickle.BYTEARRAY8: _load_bytearray,
        pickle.BINPERSID: _load_persistent,
        pickle.REDUCE: _load_call,
        pickle.NEWOBJ: _load_call,
        pickle.OBJ: _load_old_call,
        pickle.INST: _load_old_global_call,
        pickle.BUILD: _load_build,
        pickle.APPEND: _load_append,
        pickle.APPENDS: _load_appends,
        pickle.SETITEM: _load_item,
        pickle.SETITEMS: _load_items,
        pickle.DICT: _load_dict,
        pickle.ADDITEMS: _load_additems,
        pickle.FROZENSET: _load_frozenset,
    }.items():
        dispatch[_operation[0]] = _method
    del _operation, _method


def _printable(text: str) -> str:
    """Show what a stranger wrote: short, and with no codes that a terminal would obey."""
    return ascii(text[:100])[1:-1]


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _DamagedError(f"a {kind.__name__} was expected, not `{type(value).__name__}`")
    return value


def _key(key: Any) -> Any:
    """Let only keys pass whose hash is quick: a tuple nested by reference takes forever."""
    if type(key) not in (str, bytes, int, bool, type(None)):
        raise _RefusedError(f"has a key of type `{type(key).__name__}`")
    if type(key) is int and key.bit_length() > 64:  # multiples of 2**61 - 1 share one hash
        raise _RefusedError("has a huge number as a key")
    return key


def read_pickle(
    path: Path | str,
    allowed: Allowed,
    *,
    what: str,
    encoding: str = "latin1",
) -> Any:
    """Read a pickle that a stranger wrote. Nothing of it is executed.

    Parameters
    ----------
    path
        The file.
    allowed
        The names that the file may ask for, and what they make here. Each function must be without
        effects and must not make more than a small multiple of its arguments.
    what
        What the file should be, with its article: ``a generator's pickle``. For messages.
    encoding
        How byte strings written by Python 2 are decoded; ``bytes`` leaves them as they are.

    Returns
    -------
        Plain values, and whatever the functions of ``allowed`` return. A name that is not called
        remains a :py:class:`Global`. Tuples and lists may be nested by reference, so do not walk
        through them without a limit.

    Raises
    ------
    SynthDistillError
        The file cannot be read, is no pickle, is truncated, or asks for another name.
    """
    with reading(path, what) as stream:
        return run(
            lambda: RestrictedUnpickler(stream, allowed, encoding=encoding).load(),
            path=path,
            what=what,
            offset=stream.tell,
        )


def run(
    read: Callable[[], Any],
    *,
    path: Path | str,
    what: str,
    offset: Callable[[], int] | None = None,
) -> Any:
    """Call a function that reads a stranger's bytes; whatever it raises becomes our error.

    Parameters
    ----------
    read
        The function.
    path
        The file, for the message.
    what
        What the file should be, for the message.
    offset
        Tells how far the reading went.

    Raises
    ------
    SynthDistillError
        Whatever ``read`` raised, in words.
    """
    try:
        return read()
    except SynthDistillError:
        raise
    except _RefusedError as error:
        raise SynthDistillError(
            f"{path} {error}{_where(offset)}, which {what} has no need of. Nothing of it was "
            "executed. Get the file from its official source again, and do not open this one with "
            "other programs."
        ) from error
    # a hostile or damaged file can make any instruction fail in any way
    except Exception as error:
        raise SynthDistillError(
            f"{path} is not {what}, or it is truncated or damaged{_where(offset)}: "
            f"{_reason(error)}. Download or copy it again."
        ) from error


def _where(offset: Callable[[], int] | None) -> str:
    return f" (at byte {offset():,})" if offset else ""


def _reason(error: Exception) -> str:
    if isinstance(error, _DamagedError):
        return str(error)
    return f"{type(error).__name__}: {_printable(str(error))}".rstrip(": ")


# What numpy's pickles ask for, old and new names ------------------------------------------------


def _text(value: Any) -> str:
    """Take text that Python 2 may have written as bytes."""
    return value.decode("latin1") if type(value) is bytes else _exactly(str, value)


class _Dtype(Buildable):
    """A dtype of plain numbers; the byte order comes as its state."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = _text(code)
        if not re.fullmatch(r"[<>=|]?[biufc?]\d{0,2}", code):
            raise _RefusedError(f"holds an array of `{_printable(code)}`")
        self.value = numpy.dtype(code)

    def build(self, state: Any) -> None:
        order = _text(state[1])
        if order in (">", "<"):
            self.value = numpy.dtype(order + self.value.str[1:])


class NumpyArray(Buildable):
    """A numpy array of numbers: ``value`` is the array, read-only, once its state was given."""

    value: numpy.ndarray

    def __init__(self, *_: Any) -> None:
        self.value = numpy.empty(0, numpy.uint8)

    def build(self, state: Any) -> None:
        """Take numpy's state: version, shape, dtype, whether columns come first, content."""
        shape, dtype, fortran, content = state[-4:]
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: str = "C") -> numpy.ndarray:
    if isinstance(content, str):  # a byte string that Python 2 wrote
        content = content.encode("latin1")
    flat = numpy.frombuffer(content, _exactly(_Dtype, dtype).value)
    sizes = [int(size) for size in shape]
    if min(sizes, default=0) < 0:
        raise _DamagedError("an array has a negative size")
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _array_of_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> NumpyArray:
    array = NumpyArray()
    array.value = _array(content, dtype, shape, order)
    return array


def _scalar(dtype: Any, content: Any) -> Any:
    return _array(content, dtype, ()).item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Undo how protocol 2 stores bytes: as text, each character a byte."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError("encodes text in an unusual way")
    return str.encode(text, "latin1")


def _set(values: Any = ()) -> set[Any]:
    return set(map(_key, values))


def _ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((_key(key), value) for key, value in items)


PLAIN: Allowed = {
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): lambda: b"",
    ("builtins", "bytes"): lambda: b"",
    ("__builtin__", "set"): _set,
    ("builtins", "set"): _set,
    ("collections", "OrderedDict"): _ordered_dict,
}
"""Plain values that the older protocols write as calls."""

NUMPY: Allowed = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): NumpyArray,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): NumpyArray for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array_of_buffer for core in ("core", "_core")},
}
"""numpy's arrays (as :py:class:`NumpyArray`) and scalars (as Python's), of numbers only."""
