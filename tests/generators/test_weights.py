"""Our safetensors of a generator: they come back the same, and others are explained."""

import json
import struct

import pytest
import safetensors.torch
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators import load_generator, save_generator, weights
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator


def write(path, generator, change_tensors=None, change_metadata=None):
    save_generator(path, generator)
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    if change_tensors:
        change_tensors(tensors)
    if change_metadata:
        change_metadata(metadata)
    safetensors.torch.save_file(tensors, path, metadata or None)


@pytest.mark.parametrize("conv_clamp", [None, 256.0, 0.5])
def test_a_generator_comes_back_the_same(tmp_path, conv_clamp):
    options = {
        "z_dim": 5,
        "w_dim": 7,
        "resolution": 8,
        "channel_base": 64,
        "channel_max": 9,
        "mapping_layers": 3,
        "mapping_multiplier": 0.02,
        "conv_clamp": conv_clamp,
        "num_fp16_res": 1,
    }
    generator = Generator(**options).train()
    generator.mapping.w_avg.normal_()
    path = tmp_path / "any-name"
    save_generator(path, generator)
    found = load_generator(path)
    assert found.options == options == generator.options
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    z = torch.randn(3, 5)
    expected = generator.eval()(z, truncation_psi=0.7, noise_mode="const")
    assert torch.equal(found(z, truncation_psi=0.7, noise_mode="const"), expected)


def test_every_option_is_written():
    assert set(weights.OPTIONS) == set(Generator(resolution=4, channel_base=8).options)


def test_the_file_is_the_same_each_time(tmp_path, small_generator):
    for name in ("a", "b"):
        save_generator(tmp_path / name, small_generator)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def drop(tensors):
    del tensors["mapping.fc1.bias"], tensors["synthesis.b4.const"]


def add(tensors):
    tensors["\x1b[31mbackbone.conv"] = torch.zeros(1)


def reshape(tensors):
    tensors["mapping.w_avg"] = torch.zeros(3)


def spoil(tensors):
    tensors["mapping.w_avg"][2] = float("inf")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (drop, "2 missing: mapping.fc1.bias, synthesis.b4.const"),
        (add, r"1 unknown: '\\x1b\[31mbackbone.conv'"),
        (reshape, r"1 of another shape: mapping.w_avg is \[3\] instead of \[10\]"),
        (spoil, "1 not finite: mapping.w_avg"),
    ],
)
def test_tensors_that_do_not_fit_are_listed(tmp_path, small_generator, change, match):
    path = tmp_path / "small.safetensors"
    write(path, small_generator, change_tensors=change)
    with pytest.raises(SynthDistillError, match=match) as error:
        load_generator(path)
    assert str(path) in error.value.message


def options(**changes):
    def change(metadata):
        metadata["options"] = json.dumps({**json.loads(metadata["options"]), **changes})

    return change


def text(**changes):
    return lambda metadata: metadata.update(changes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict.clear, "of an unnamed network, with 48 tensors"),
        (text(architecture="student"), "of 'student', with 48 tensors"),
        (text(format="2"), "is of format '2', and this program reads formats up to 1. Update"),
        (text(format="x"), "is of format 'x'"),
        (lambda metadata: metadata.pop("format"), "is of format ''"),
        (text(options="{"), "JSONDecodeError"),
        (text(options="[" * 100_000), "RecursionError"),
        (text(options="[]"), "its options are not z_dim"),
        (lambda metadata: metadata.pop("options"), "KeyError"),
        (options(z_dim="6"), "its z_dim is of type str"),
        (options(z_dim=True), "its z_dim is of type bool"),
        (options(more=1), "its options are not"),
        (options(z_dim=10**12), "of another shape: mapping.fc0.weight"),
        (options(mapping_layers=10**12), "more layers than it has tensors"),
        (options(resolution=2**1000), "more layers than it has tensors"),
        (options(resolution=24), "power of 2"),
        (options(channel_base=-5), "at least one feature"),
        (options(resolution=32, channel_base=256), "missing: synthesis.b32"),
    ],
)
def test_metadata_that_do_not_fit_are_explained(tmp_path, small_generator, change, match):
    path = tmp_path / "small.safetensors"
    write(path, small_generator, change_metadata=change)
    with pytest.raises(SynthDistillError, match=match) as error:
        load_generator(path)
    assert str(path) in error.value.message


def test_every_truncation_is_refused(tmp_path, small_generator):
    path = tmp_path / "small.safetensors"
    save_generator(path, small_generator)
    content = path.read_bytes()
    for length in [0, 4, 9, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(SynthDistillError, match=r"small\.safetensors"):
            load_generator(path)


def test_a_header_that_claims_10_to_the_12_numbers(tmp_path):
    size = 10**12
    header = {"x": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}
    for length in (None, 2**40):
        text = json.dumps(header).encode()
        path = tmp_path / "claims.safetensors"
        path.write_bytes(struct.pack("<Q", length or len(text)) + text)
        with pytest.raises(SynthDistillError, match="truncated or damaged"):
            load_generator(path)


def test_an_unwritable_place_is_explained(tmp_path, small_generator):
    (tmp_path / "file").write_text("")
    with pytest.raises(SynthDistillError, match="cannot write"):
        save_generator(tmp_path / "file" / "small.safetensors", small_generator)
