"""Read the one MATLAB file among the pair lists: AgeDB's ``splits``.

A reader of our own: scipy's believes what a damaged file claims, and has ended the process with a
segmentation fault (our fuzzer found it). Here no compressed part may grow beyond a limit, no array
may have more elements than bytes, and nothing but cells, structures, text and numbers is read.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from ..files import SynthDistillError

MAX_SIZE = 32 * 1024 * 1024
"""Bytes of the file, and of its content when decompressed: AgeDB's 12,000 images need some 5 MB."""

MAX_PARTS = 500_000
"""Arrays, cells and structures of a file: AgeDB's has some 40,000."""

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCTURE, _TEXT = 1, 2, 4
_COMPLEX = 0x800
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CODECS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_PLAIN_CLASSES = (_CELL, _STRUCTURE, 4, *range(6, 16))  # 4 is text, 6 to 15 are numbers


class _HostileError(Exception):
    """The file claims what it cannot hold, or holds what a list has no need of."""


def read_splits(path: Path) -> list[list[tuple[str, str, bool]]]:
    """Read AgeDB's protocol: the variable ``splits``, one cell a fold.

    A fold is a structure (or a cell) of the images, 2 x N, each given by its name or a structure
    that begins with it, and of N labels, +1 genuine and -1 impostor.

    Parameters
    ----------
    path
        The ``.mat`` file, of MATLAB's version 5 to 7.

    Returns
    -------
        For each fold its pairs: left image, right image, genuine.

    Raises
    ------
    SynthDistillError
        The file cannot be read, is no such list, or is damaged. Nothing of it is executed.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise SynthDistillError(f"cannot read {path}: {error.strerror or error}.") from error
    try:
        splits = _variables(content).get("splits")
        if splits is None:
            raise _HostileError("it has no variable `splits`")
        return [_read_split(split) for split in _inside(splits).ravel()]
    except Exception as error:  # a hostile or damaged file can fail anywhere
        reason = str(error) if isinstance(error, _HostileError) else f"{type(error).__name__}"
        raise SynthDistillError(
            f"{path} is not AgeDB's protocol (a MATLAB file of version 5 to 7 with the variable "
            f"`splits`), or it is damaged: {reason}. Get the official file again."
        ) from error


# The file: what does it hold? --------------------------------------------------------------------


class _Record:
    """One element of a structure: the values of its fields, in order."""

    def __init__(self, fields: list[Any]) -> None:
        self.fields = fields


def _variables(content: bytes) -> dict[str, Any]:
    """Read all variables of a file."""
    if len(content) > MAX_SIZE:
        raise _HostileError(f"it has more than {MAX_SIZE:,} bytes")
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
        raise _HostileError("it does not begin like one")
    order = "<" if content[126:128] == b"IM" else ">"
    plain = b""
    for kind, body, whole in _elements(content[_HEADER:], order):
        plain += _inflated(body, MAX_SIZE - len(plain)) if kind == _COMPRESSED else whole
    reader = _Reader(order)
    variables = {}
    for kind, body, _ in _elements(plain, order):
        if kind != _MATRIX:
            raise _HostileError(f"a part of type {kind} is not expected")
        name, value = reader.read(body)
        variables[name] = value
    return variables


def _inflated(compressed: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(compressed, max(limit, 1))
    if len(plain) > limit or inflater.unconsumed_tail:
        raise _HostileError(f"it grows beyond {MAX_SIZE:,} bytes when decompressed")
    return plain


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes, bytes]]:
    """Walk through data elements: type, content, and the element with its tag and padding."""
    position = 0
    while position < len(content):
        if position + 8 > len(content):
            raise _HostileError("it ends too early")
        kind, size = struct.unpack_from(order + "II", content, position)
        if kind >> 16:  # small element: type and size share four bytes, the content follows
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = position + 4, position + 8
            if size > 4:
                raise _HostileError("a small part is larger than it can be")
        else:
            start = position + 8
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(content):
            raise _HostileError(f"{size:,} bytes are announced, {len(content) - start:,} are left")
        yield kind, content[start : start + size], content[position:end]
        position = end


class _Reader:
    """Reads arrays, and what is nested in them.

    Parameters
    ----------
    order
        ``<`` or ``>``: the order of bytes.
    """

    def __init__(self, order: str) -> None:
        self.order = order
        self.parts = 0

    def read(self, body: bytes, depth: int = 0) -> tuple[str, Any]:
        """Read one array: its name and its value.

        Text is a ``str``, a cell an array of objects, a structure an array of records.
        """
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise _HostileError(f"it has more than {MAX_PARTS:,} parts")
        if not body:  # an empty matrix has no content at all
            return "", numpy.empty((0, 0))
        if depth > 12:
            raise _HostileError("it is nested too deeply")
        parts = _elements(body, self.order)
        flags, dimensions, name = (next(parts)[1] for _ in range(3))
        (flag,) = struct.unpack(self.order + "I", flags[:4])
        kind = flag & 0xFF
        if kind not in _PLAIN_CLASSES:
            raise _HostileError(f"it holds an object or a function (class {kind})")
        sizes = struct.unpack(f"{self.order}{len(dimensions) // 4}i", dimensions)
        if not 2 <= len(sizes) <= 8 or min(sizes) < 0:
            raise _HostileError(f"an array has the shape {sizes[:8]}")
        count = math.prod(sizes)
        if count > len(body) // (8 if kind in (_CELL, _STRUCTURE) else 1):
            raise _HostileError(f"an array claims {count:,} elements in {len(body):,} bytes")
        value: Any
        if kind == _CELL:
            value = self._objects(sizes, [self._nested(parts, depth) for _ in range(count)])
        elif kind == _STRUCTURE:
            value = self._objects(sizes, self._records(parts, count, depth))
        else:
            storage, content, _ = next(parts)
            if kind == _TEXT:
                value = self._text(storage, content)
            elif flag & _COMPLEX:
                raise _HostileError("it holds complex numbers")
            else:
                value = self._numbers(storage, content, sizes)
        return name.decode("latin1"), value

    def _nested(self, parts: Iterator[tuple[int, bytes, bytes]], depth: int) -> Any:
        kind, content, _ = next(parts)
        if kind != _MATRIX:
            raise _HostileError(f"a cell holds a part of type {kind}")
        return self.read(content, depth + 1)[1]

    def _records(
        self, parts: Iterator[tuple[int, bytes, bytes]], count: int, depth: int
    ) -> list[_Record]:
        (length,) = struct.unpack(self.order + "i", next(parts)[1][:4])
        names = next(parts)[1]
        fields = len(names) // length if length > 0 else 0
        if count * fields > MAX_PARTS:
            raise _HostileError(f"a structure claims {count * fields:,} fields")
        return [_Record([self._nested(parts, depth) for _ in range(fields)]) for _ in range(count)]

    @staticmethod
    def _objects(sizes: tuple[int, ...], values: list[Any]) -> numpy.ndarray:
        flat = numpy.empty(len(values), dtype=object)
        for index, value in enumerate(values):
            flat[index] = value
        return flat.reshape(sizes, order="F")

    def _numbers(self, storage: int, content: bytes, sizes: tuple[int, ...]) -> numpy.ndarray:
        if storage not in _NUMBERS:
            raise _HostileError(f"numbers are stored as type {storage}")
        kind = numpy.dtype(_NUMBERS[storage]).newbyteorder(self.order)  # type: ignore[arg-type]
        return numpy.frombuffer(content, kind).reshape(sizes, order="F")

    def _text(self, storage: int, content: bytes) -> str:
        if storage not in _CODECS:
            raise _HostileError(f"text is stored as type {storage}")
        codec = _CODECS[storage]
        if codec in ("utf-16", "utf-32"):
            codec += "-le" if self.order == "<" else "-be"
        return content.decode(codec)


# The content: which pairs does it list? ---------------------------------------------------------


def _inside(value: Any) -> Any:
    """Unwrap arrays of one element, of which MATLAB's cells and structures are made."""
    for _ in range(12):
        if not (isinstance(value, numpy.ndarray) and value.size == 1):
            break
        if isinstance(value.flat[0], _Record | numpy.ndarray):
            value = value.flat[0]
        else:
            break
    return value


def _parts(value: Any) -> list[Any]:
    """List the fields of a structure, or the elements of a cell."""
    value = _inside(value)
    if isinstance(value, _Record):
        return value.fields
    if isinstance(value, numpy.ndarray) and value.dtype == object:
        return list(value.ravel())
    raise _HostileError("a split is neither a structure nor a cell")


def _read_split(split: Any) -> list[tuple[str, str, bool]]:
    images, labels = None, None
    for part in _parts(split):
        part = _inside(part)
        if isinstance(part, numpy.ndarray) and part.dtype == object and 2 in part.shape:
            images = part if part.shape[0] == 2 else part.T
        elif isinstance(part, numpy.ndarray) and part.dtype.kind in "iufb":
            labels = part.ravel()
    if images is None or labels is None or images.shape != (2, len(labels)):
        raise _HostileError("a split has no images, 2 x N, with N labels")
    if not set(labels.tolist()) <= {1, -1}:
        raise _HostileError("a label is neither +1 nor -1")
    return [
        (_text(left), _text(right), bool(label == 1))
        for left, right, label in zip(images[0], images[1], labels, strict=True)
    ]


def _text(value: Any) -> str:
    """Read an image's name: text, or the first field of a structure."""
    for _ in range(12):
        if isinstance(value, str):
            return value
        if isinstance(value, _Record) and value.fields:
            value = value.fields[0]
        elif isinstance(value, numpy.ndarray) and value.size:
            value = value.flat[0]
        else:
            break
    raise _HostileError("an image has no name")
