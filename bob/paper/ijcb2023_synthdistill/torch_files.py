"""Read what ``torch.save`` wrote, in both of its formats, without executing anything of it.

``torch.load(weights_only=True)`` executes nothing either, but believes sizes: a few bytes may ask
it for terabytes. Here all tensors together are no more than a few times the file.
"""

import io
import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from typing import Any, BinaryIO

import torch

from .unpickling import NUMPY, PLAIN, Allowed, Global, RestrictedUnpickler

MAGIC = 0x1950A86A20F9469CFC6C
"""How the format before PyTorch 1.6 starts, which pickled tensors still have inside."""

FORMAT = 1001
"""The version of that format: there has never been another."""

MAX_DIMENSIONS = 8

MAX_VIEWS = 4
"""Tensors may share numbers: how often, on the average, before the file is refused."""

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_torch(stream: BinaryIO) -> Any:
    """Read one object that ``torch.save`` wrote; call it inside of :py:func:`.unpickling.run`.

    Parameters
    ----------
    stream
        A file, at its beginning, readable in any order.

    Returns
    -------
        Plain values and tensors, on the CPU, in the memory layout that they had.

    Raises
    ------
    Exception
        Of any kind: the file is damaged, asks for code, or announces more than it holds.
    """
    archived = stream.read(4) == b"PK\x03\x04"
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return _read_archive(stream, size) if archived else _read_old(stream, size)


class _Content:
    """The tensors of one file: their numbers (storages), and views of them.

    Parameters
    ----------
    size
        Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size
        self.views_left = MAX_VIEWS * size
        self.storages: dict[str, torch.Tensor] = {}

    def unpickle(self, stream: BinaryIO) -> Any:
        """Read the object; its storages have no numbers yet, but room for them."""
        allowed: Allowed = {
            **PLAIN,
            **NUMPY,
            **{("torch", name): _not_called for name in DTYPES},
            ("collections", "Counter"): _counter,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch._utils", "_rebuild_tensor"): self.view,
            ("torch._utils", "_rebuild_tensor_v2"): self.view,
        }
        return RestrictedUnpickler(stream, allowed, persistent=self.storage, room=self.size).load()

    def storage(self, pid: Any) -> torch.Tensor:
        """Make room for the numbers that a persistent identifier announces."""
        kind, storage, key, _, length, *view = pid
        known = isinstance(storage, Global) and isinstance(key, str) and type(length) is int
        if kind != "storage" or any(view) or not known:
            raise ValueError("a stored tensor is not in the form that PyTorch writes")
        dtype = DTYPES[storage.name]
        numbers = self.storages.get(key)
        if numbers is None:
            self.left -= length * dtype.itemsize
            if length < 0 or self.left < 0:
                raise ValueError(
                    f"a stored tensor announces {length:,} numbers, for which the file of "
                    f"{self.size:,} bytes has no room"
                )
            numbers = self.storages[key] = torch.empty(length, dtype=dtype)
        elif (numbers.dtype, len(numbers)) != (dtype, length):
            raise ValueError("a stored tensor is announced twice, differently")
        return numbers

    def view(self, *arguments: Any) -> torch.Tensor:
        """Make a tensor, and count it."""
        tensor = view(*arguments)
        self.views_left -= tensor.nbytes
        if self.views_left < 0:
            raise ValueError("the tensors are much larger than the file")
        return tensor


def view(
    numbers: torch.Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
) -> torch.Tensor:
    """Make a tensor of what was stored of it.

    Parameters
    ----------
    numbers
        One dimension.
    offset
        Where the tensor starts.
    size, stride
        The shape, and how far apart neighbours are.

    Returns
    -------
        A view: nothing is copied.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        No tensor is like that, or the numbers are not there.
    """
    if not isinstance(numbers, torch.Tensor) or numbers.ndim != 1:
        raise TypeError("a tensor has no numbers")
    for shape in (size, stride):
        if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
            raise TypeError("the shape of a tensor is no short tuple")
    for number in (offset, *size, *stride):
        if type(number) is not int or not 0 <= number < 2**48:
            raise ValueError("the shape of a tensor is impossible")
    if math.prod(size) > len(numbers):  # a stride of 0 repeats one number for ever
        raise ValueError(f"a tensor of shape {size} has {len(numbers):,} numbers")
    return torch.as_strided(numbers, size, stride, offset)


def _read_old(stream: BinaryIO, size: int) -> Any:
    """Read the format before PyTorch 1.6: five pickles, and the numbers one after another."""
    magic, version, machine = (RestrictedUnpickler(stream, {}).load() for _ in range(3))
    if (magic, version) != (MAGIC, FORMAT) or machine.get("little_endian") is not True:
        raise ValueError("it is not in a format that PyTorch writes")
    content = _Content(size)
    found = content.unpickle(stream)
    keys = RestrictedUnpickler(stream, {}).load()
    if sorted(keys) != sorted(content.storages):
        raise ValueError("it has other stored tensors than it announces")
    for key in keys:
        numbers = content.storages[key]
        length = int.from_bytes(stream.read(8), "little")
        if length != len(numbers):
            raise ValueError(f"{len(numbers):,} numbers are announced, and {length:,} follow")
        _fill(numbers, stream)
    return found


def _read_archive(stream: BinaryIO, size: int) -> Any:
    """Read the format since PyTorch 1.6: a zip archive with a pickle, and a file a storage."""
    with zipfile.ZipFile(stream) as archive:
        pickled = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise ValueError("it is a zip archive, but not one that PyTorch writes")
        folder = pickled[0].removesuffix("data.pkl")

        def member(name: str) -> BinaryIO:
            info = archive.getinfo(folder + name)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise ValueError(f"{name} announces {info.file_size:,} bytes, or is compressed")
            return archive.open(info)  # type: ignore[return-value]

        if f"{folder}byteorder" in archive.namelist() and member("byteorder").read() != b"little":
            raise ValueError("it was written by a machine of another byte order")
        content = _Content(size)
        found = content.unpickle(io.BytesIO(member("data.pkl").read()))
        for key, numbers in content.storages.items():
            with member(f"data/{key}") as file:
                _fill(numbers, file)
                if file.read(1):
                    raise ValueError(f"{len(numbers):,} numbers are announced, and more follow")
    return found


def _fill(numbers: torch.Tensor, stream: BinaryIO) -> None:
    """Read numbers to where they belong."""
    room = numbers.view(torch.uint8).numpy().data
    if len(room) and stream.readinto(room) != len(room):  # type: ignore[attr-defined]
        raise ValueError(f"{len(numbers):,} numbers are announced, and the file ends before")


def _parameter(tensor: Any, *_: Any) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError("a parameter is no tensor")
    return tensor


def _counter(counts: Any = None) -> Counter[Any]:
    """Make what some schedules keep their milestones in."""
    if counts is not None and type(counts) is not dict:
        raise TypeError("a counter is made of something else than a dictionary")
    return Counter(counts)


def _not_called(*_: Any) -> None:
    raise ValueError("a type of tensors is called")
