"""torch.save's two formats: what torch.load gives, and nothing that a file only claims."""

import io
import re
import struct
import warnings
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.torch_files import DTYPES, read_torch, view
from bob.paper.ijcb2023_synthdistill.unpickling import run


def saved(value, new):
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def read(content):
    return run(lambda: read_torch(io.BytesIO(content)), path="file", what="a test's file")


formats = pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])


def values():
    base = torch.randn(3, 4)
    return {
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(3, 0, 2),
        "transposed": base.t(),
        "part": base.flatten()[5:9],
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        **{str(dtype): torch.tensor([0, 1, 1]).to(dtype) for dtype in DTYPES.values()},
    }


@formats
def test_every_tensor_is_the_one_that_torch_reads(new):
    content = saved(values(), new)
    found, expected = read(content), torch.load(io.BytesIO(content), weights_only=True)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert (found[name].dtype, found[name].stride()) == (tensor.dtype, tensor.stride()), name


@formats
def test_what_a_training_keeps_comes_back(new):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(network.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 5])
    network(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    state = {
        "student": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rows": [{"epoch": 1, "error": float("nan"), "text": "ä"}, (1, None, True, b"bytes")],
    }
    found = read(saved(state, new))
    assert type(found["student"]) is OrderedDict
    assert found["scheduler"]["milestones"] == Counter([1, 5])
    assert repr(found) == repr(state)


def test_shared_numbers_are_read_once():
    tensor = torch.randn(100)
    found = read(saved({"a": tensor, "b": tensor, "c": tensor[:10]}, False))
    assert found["a"].data_ptr() == found["b"].data_ptr() == found["c"].data_ptr()


@formats
def test_tensors_much_larger_than_the_file_are_refused(new):
    tensor = torch.randn(10_000)
    with pytest.raises(SynthDistillError, match="much larger than the file"):
        read(saved([tensor[i:] for i in range(100)], new))


@formats
def test_every_truncation_is_refused(new):
    content = saved({"a": torch.arange(10.0), "b": torch.ones(3)}, new)
    for length in range(len(content)):
        with pytest.raises(SynthDistillError):
            read(content[:length])


def claiming(content, number, claim):
    """Replace a number of a pickle, written as a short integer, by a long one."""
    short = b"M" + struct.pack("<H", number)
    assert content.count(short) == 1
    return content.replace(short, b"\x8a\x08" + struct.pack("<q", claim))


@pytest.mark.parametrize("claim", [10**12, 2**62, -300, 301])
def test_an_old_file_that_claims_other_numbers_than_it_has(claim):
    content = saved(torch.zeros(300)[:5], False)
    with pytest.raises(SynthDistillError, match=r"announces?d? .*numbers|numbers are announced"):
        read(claiming(content, 300, claim))


def test_an_old_file_whose_numbers_claim_another_length():
    content = saved(torch.zeros(300), False)
    at = len(content) - 1200 - 8
    assert content[at : at + 8] == struct.pack("<Q", 300)
    damaged = content[:at] + struct.pack("<Q", 10**12) + content[at + 8 :]
    with pytest.raises(SynthDistillError, match=re.escape("and 1,000,000,000,000 follow")):
        read(damaged)


def rewritten(content, change, compression=zipfile.ZIP_STORED):
    """Write an archive again with other members."""
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as before,
        zipfile.ZipFile(result, "w", compression) as after,
    ):
        for name in before.namelist():
            inside = change(name.split("/", 1)[1], before.read(name))
            if inside is not None:
                after.writestr(name, inside)
    return result.getvalue()


@pytest.mark.parametrize("claim", [10**12, 2**62, -300, 301])
def test_an_archive_that_claims_other_numbers_than_it_has(claim):
    content = saved(torch.zeros(300)[:5], True)
    with pytest.raises(SynthDistillError, match=r"announces?d? .*numbers|numbers are announced"):
        read(
            rewritten(content, lambda name, b: claiming(b, 300, claim) if name == "data.pkl" else b)
        )


def test_archives_that_torch_does_not_write():
    content = saved({"a": torch.zeros(300)}, True)
    for changed, words in (
        (rewritten(content, lambda _, b: b, zipfile.ZIP_DEFLATED), "or is compressed"),
        (
            rewritten(content, lambda n, b: {"data/0": None, "version": b * 1000}.get(n, b)),
            "KeyError.*data/0",
        ),
        (rewritten(content, lambda n, b: None if n == "data.pkl" else b), "not one that PyTorch"),
        (rewritten(content, lambda n, b: b"big" if n == "byteorder" else b), "byte order"),
        (rewritten(content, lambda n, b: b * 2 if n == "data/0" else b), "and more follow"),
        (content.replace(b"\0" * 900, b"\1" * 900), "CRC"),
    ):
        with pytest.raises(SynthDistillError, match=words):
            read(changed)
    # the archive of torch 1.6 named no byte order
    assert len(read(rewritten(content, lambda n, b: None if n == "byteorder" else b))["a"]) == 300


def test_what_allocates_without_content_is_refused_by_name():
    class Room:
        def __init__(self, kind):
            self.kind = kind

        def __reduce__(self):
            return self.kind, (10**12,)

    for kind, name in ((bytearray, "bytearray"), (torch.Tensor, "torch.Tensor")):
        for new in (True, False):
            with pytest.raises(SynthDistillError, match=f"asks for `.*{name}`"):
                read(saved({"a": Room(kind)}, new))


def test_a_whole_module_is_refused_by_name():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = saved(torch.nn.Linear(2, 2), False)
    with pytest.raises(SynthDistillError, match="Nothing of it was executed"):
        read(content)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (11,), (1,)),
        (1, (10,), (1,)),
        (0, (10**6, 10**6), (0, 0)),
        (0, (2, 2), (9, 2)),
        (-1, (2,), (1,)),
        (0, (-1, -10), (1, 1)),
        (0, (2,), (-1,)),
        (0, [2], (1,)),
        (0, (2, 2), (1,)),
        (0, (2**62, 4), (1, 1)),
        (0, ("2",), (1,)),
        (0, (1,) * 9, (1,) * 9),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(offset, size, stride):
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        view(torch.arange(10.0), offset, size, stride)
