"""Tensors inside a stranger's pickle: PyTorch writes the numbers of each as a file inside.

Nothing is built while the outer pickle is read: a tensor remains a description of itself, and its
numbers are looked at when it is wanted.
"""

import io
from collections.abc import Sequence
from typing import Any

import torch

from ..torch_files import read_torch, view
from ..unpickling import Allowed


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
        return read_torch(io.BytesIO(self.content))


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
    """

    def __init__(
        self, storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
    ) -> None:
        if type(storage) is not Storage:
            raise TypeError("a tensor has no storage")
        self.storage = storage
        self.shape = (offset, size, stride)

    def read(self) -> torch.Tensor:
        """Read the tensor.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            The numbers are not there, or the shape does not fit them.
        """
        return view(self.storage.read(), *self.shape).contiguous()


def _parameter(tensor: Any, *_: Any) -> StoredTensor:
    if not isinstance(tensor, StoredTensor):
        raise TypeError("a parameter is no tensor")
    return tensor


TORCH: Allowed = {
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor_v2"): StoredTensor,
    ("torch.storage", "_load_from_bytes"): Storage,
}
"""What pickled parameters and buffers ask for; they become :py:class:`StoredTensor`."""
