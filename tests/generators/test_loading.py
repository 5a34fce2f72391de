"""A generator's file is recognised by its content; our own comes back as it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators import load_generator, save_generator
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator

MICRO = Path(__file__).parents[1] / "data" / "stylegan2-micro.pkl"


def test_the_name_of_the_file_does_not_matter(tmp_path):
    pickled, saved = tmp_path / "pickle.safetensors", tmp_path / "safetensors.pkl"
    pickled.write_bytes(MICRO.read_bytes())
    first = load_generator(pickled)
    save_generator(saved, first)
    second = load_generator(str(saved))
    assert first.options == second.options
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


@pytest.mark.parametrize("conv_clamp", [None, 0.5])
def test_a_generator_comes_back_the_same_and_frozen(tmp_path, conv_clamp):
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
    paths = tmp_path / "a", tmp_path / "b"
    for path in paths:
        save_generator(path, generator)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = load_generator(paths[0])
    assert found.options == options == generator.options
    assert not any(module.training for module in found.modules())
    assert not any(parameter.requires_grad for parameter in found.parameters())
    z = torch.randn(3, 5)
    expected = generator.eval()(z, truncation_psi=0.7, noise_mode="const")
    assert torch.equal(found(z, truncation_psi=0.7, noise_mode="const"), expected)


def options(**changes):
    def change(metadata):
        metadata["options"] = json.dumps({**json.loads(metadata["options"]), **changes})

    return change


def text(**changes):
    return lambda metadata: metadata.update(changes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict.clear, "of an unnamed network, with the tensors mapping.fc0.bias"),
        (text(architecture="\x1b[31mstudent"), r"file of \\x1b\[31mstudent, with the tensors"),
        (text(format="2"), "is of format '2', and this program reads formats up to 1. Update"),
        (lambda metadata: metadata.pop("format"), "is of format ''"),
        (text(options="{"), "JSONDecodeError"),
        (text(options="[" * 100_000), "RecursionError"),
        (lambda metadata: metadata.pop("options"), "KeyError"),
        (options(z_dim="\x1b6"), r"its z_dim is .*x1b6"),
        (options(num_fp16_res=1.5), "its num_fp16_res is 1.5"),
        (options(conv_clamp=float("nan")), "its conv_clamp is nan"),
        (options(more=1), "unexpected keyword argument 'more'"),
        (text(options='{"mapping_layers": 2, "resolution": 16}'), "its options are not z_dim, w_d"),
        (options(z_dim=10**12), "of another shape: mapping.fc0.weight"),
        (options(mapping_layers=10**12), "more layers than it has tensors"),
        (options(resolution=2**1000), "more layers than it has tensors"),
        (options(resolution=24), "power of 2"),
        (options(resolution=32, channel_base=256), "missing: synthesis.b32"),
    ],
)
def test_metadata_that_do_not_fit_are_explained(tmp_path, small_generator, change, match):
    path = tmp_path / "small.safetensors"
    save_generator(path, small_generator)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(metadata)
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata or None)
    with pytest.raises(SynthDistillError, match=match) as error:
        load_generator(path)
    assert str(path) in error.value.message
    assert "\x1b" not in error.value.message


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04 and so on", "a zip archive"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"\x1f\x8b\x08\x00\x1b[31m", r"starts with b'\\x1f\\x8b"),
    ],
)
def test_other_files_are_named(tmp_path, content, match):
    path = tmp_path / "stylegan2.pkl"
    path.write_bytes(content)
    with pytest.raises(SynthDistillError, match=rf"stylegan2\.pkl holds no generator: .*{match}"):
        load_generator(path)


def test_a_missing_file_and_a_folder(tmp_path):
    for path, match in ((tmp_path / "none.pkl", "No such file"), (tmp_path, "it is a folder")):
        with pytest.raises(SynthDistillError, match=rf"cannot read .*{match}.*Expected a generat"):
            load_generator(path)


def test_the_package_imports_nothing_heavy():
    code = (
        "import sys, bob.paper.ijcb2023_synthdistill.generators; "
        "sys.exit(bool({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
