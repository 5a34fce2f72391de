"""Tensors inside a stranger's pickle: PyTorch writes each as a pickle of its own inside.

Nothing is built while the outer pickle is read: a tensor remains a description of itself, and its
numbers are looked at when it is wanted.
"""

import io
import math
from collections.abc import Sequence
from typing import Any

import torch

from ..unpickling import Allowed, Global, RestrictedUnpickler

MAGIC = 0x1950A86A20F9469CFC6C
"""How the file format of :py:func:`torch.save` before PyTorch 1.6 starts, still used for these."""

FORMAT = 1001
"""The version of that format: there has never been another."""

MAX_DIMENSIONS = 8

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


class Storage:
    """The numbers of a tensor, as bytes.

    Parameters
    ----------
    content
        What :py:func:`torch.save` wrote, in its old format.
    """

    def __init__(self, content: bytes) -> None:
        if type(content) is not bytes:
            raise TypeError("a stored tensor is not made of bytes")
        self.content = content

    def read(self) -> torch.Tensor:
        """Read the numbers.

        Returns
        -------
            A tensor of one dimension.

        Raises
        ------
        ValueError
            The content is not one storage of PyTorch's.
        """
        stream = io.BytesIO(self.content)
        found: list[tuple[torch.dtype, str, int]] = []

        def describe(pid: Any) -> None:
            kind, storage, key, _, length, view = pid
            known = isinstance(storage, Global) and isinstance(key, str) and type(length) is int
            if kind != "storage" or view is not None or not known:
                raise ValueError("a stored tensor is not in the form that PyTorch writes")
            found.append((DTYPES[storage.name], key, length))

        allowed: Allowed = {("torch", name): _not_called for name in DTYPES}
        header = [RestrictedUnpickler(stream, allowed).load() for _ in range(3)]
        if header[:2] != [MAGIC, FORMAT] or header[2].get("little_endian") is not True:
            raise ValueError("a stored tensor is not in the format that PyTorch writes")
        RestrictedUnpickler(stream, allowed, persistent=describe).load()
        keys = RestrictedUnpickler(stream, {}).load()
        if len(found) != 1 or keys != [found[0][1]]:
            raise ValueError("a stored tensor holds more or less than one storage")
        dtype, _, length = found[0]
        announced = int.from_bytes(stream.read(8), "little")
        content = bytearray(stream.read())
        if not announced == length == len(content) / dtype.itemsize:
            raise ValueError(
                f"a stored tensor announces {length:,} numbers and has {len(content):,} bytes"
            )
        return torch.frombuffer(content, dtype=dtype) if length else torch.empty(0, dtype=dtype)


class StoredTensor:
    """A tensor as it was pickled: a view into a storage.

    Parameters
    ----------
    storage
        The numbers.
    offset
        Where they start.
    size, stride
        The shape, and how far apart neighbours are.

    Raises
    ------
    TypeError, ValueError
        No tensor is like that.
    """

    def __init__(
        self, storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
    ) -> None:
        for shape in (size, stride):
            if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
                raise TypeError("the shape of a tensor is no short tuple")
        for number in (offset, *size, *stride):
            if type(number) is not int or not 0 <= number < 2**48:
                raise ValueError("the shape of a tensor is impossible")
        if type(storage) is not Storage:
            raise TypeError("a tensor has no storage")
        self.storage = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    def read(self) -> torch.Tensor:
        """Read the tensor.

        Raises
        ------
        ValueError, RuntimeError
            The numbers are not there, or the shape does not fit them.
        """
        numbers = self.storage.read()
        if math.prod(self.size) > numbers.numel():  # a stride of 0 repeats one number for ever
            raise ValueError(f"a tensor of shape {tuple(self.size)} has {numbers.numel()} numbers")
        return torch.as_strided(numbers, self.size, self.stride, self.offset).contiguous()


def _parameter(tensor: Any, *_: Any) -> StoredTensor:
    if not isinstance(tensor, StoredTensor):
        raise TypeError("a parameter is no tensor")
    return tensor


def _not_called(*_: Any) -> None:
    raise ValueError("a type of tensors is called")


TORCH: Allowed = {
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor_v2"): StoredTensor,
    ("torch.storage", "_load_from_bytes"): Storage,
}
"""What pickled parameters and buffers ask for; they become :py:class:`StoredTensor`."""
