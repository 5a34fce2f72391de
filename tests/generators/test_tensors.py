"""Pickled tensors: every type, views, and what is no tensor."""

import io
import pickle
import re

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import unpickling
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators.tensors import TORCH, Storage, StoredTensor
from bob.paper.ijcb2023_synthdistill.torch_files import DTYPES

ALLOWED = {**unpickling.PLAIN, **TORCH}


def read(tmp_path, tensor, protocol=4):
    path = tmp_path / "tensor.pkl"
    path.write_bytes(pickle.dumps(tensor, protocol))
    found = unpickling.read_pickle(path, ALLOWED, what="a test's tensor")
    assert isinstance(found, StoredTensor)
    return found.read()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_type_survives(tmp_path, dtype, protocol):
    tensor = torch.tensor([[0, 1, 0], [1, 1, 0]]).to(dtype)
    found = read(tmp_path, tensor, protocol)
    assert found.dtype == dtype
    assert torch.equal(found, tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.5),
        torch.zeros(0),
        torch.zeros(3, 0, 2),
        torch.arange(12.0).reshape(3, 4).t(),
        torch.arange(12.0)[5:9],
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.nn.Parameter(torch.ones(2, 2)),
    ],
    ids=["scalar", "empty", "empty shape", "transposed", "part", "channels last", "parameter"],
)
def test_every_shape_survives(tmp_path, tensor):
    found = read(tmp_path, tensor)
    assert torch.equal(found, tensor.detach())
    assert found.is_contiguous()


def stored(tensor):
    """Take what PyTorch writes of the numbers of a tensor inside a pickle."""
    storage = torch.storage.TypedStorage(
        wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True
    )
    return storage.__reduce__()[1][0]


def test_the_numbers_are_those_that_torch_reads():
    content = stored(torch.randn(100))
    expected = torch.load(io.BytesIO(content), weights_only=True)
    assert torch.equal(
        Storage(content).read(), torch.tensor([], dtype=torch.float32).set_(expected)
    )


def test_a_storage_that_claims_10_to_the_12_numbers():
    content = stored(torch.zeros(300))
    length = b"M\x2c\x01"  # 300
    assert content.count(length) == 1
    claim = b"\x8a\x08" + (10**12).to_bytes(8, "little")
    with pytest.raises(ValueError, match=re.escape("announces 1,000,000,000,000 numbers")):
        Storage(content.replace(length, claim)).read()


def test_every_truncation_is_refused():
    content = stored(torch.arange(10.0))
    for length in range(len(content)):
        with pytest.raises(SynthDistillError):
            unpickling.run(Storage(content[:length]).read, path="file", what="a tensor")


@pytest.mark.parametrize("arguments", [("text",), (b"text", 1, 2), ()])
def test_arguments_of_another_kind_are_refused(tmp_path, arguments):
    class Other:
        def __reduce__(self):
            return torch.storage._load_from_bytes, arguments

    path = tmp_path / "tensor.pkl"
    path.write_bytes(pickle.dumps(Other(), 4))
    with pytest.raises(SynthDistillError, match="TypeError"):
        unpickling.read_pickle(path, ALLOWED, what="a test's tensor")
