"""A generator's file is recognised by its content; our own comes back as it was."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators import load_generator, save_generator

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["stylegan2-micro", "stylegan3-t-micro", "stylegan3-r-micro"])
def test_a_generator_comes_back_the_same_and_frozen(tmp_path, name):
    pickled, saved, again = (tmp_path / n for n in ("a.safetensors", "b.pkl", "c"))
    pickled.write_bytes((DATA / f"{name}.pkl").read_bytes())
    generator = load_generator(pickled)
    for path in (saved, again):
        save_generator(path, generator)
    assert saved.read_bytes() == again.read_bytes()
    found = load_generator(str(saved))
    assert found.options == generator.options
    assert not any(module.training for module in found.modules())
    assert not any(parameter.requires_grad for parameter in found.parameters())
    z = torch.randn(2, found.z_dim)
    assert torch.equal(found(z, 0.7, noise_mode="const"), generator(z, 0.7, noise_mode="const"))


def options(**changes):
    """Change options of the generator, or of its second layer."""

    def change(metadata):
        found = json.loads(metadata["options"])
        (found["layers"][1] if changes.keys() & found["layers"][1].keys() else found).update(
            changes
        )
        metadata["options"] = json.dumps(found)

    return change


def text(**changes):
    return lambda metadata: metadata.update(changes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict.clear, "of an unnamed network, with the tensors mapping.fc0.bias"),
        (text(architecture="\x1b[31mstudent"), r"file of \\x1b\[31mstudent, with the tensors"),
        (text(format="2"), "is of format '2', and this program reads format 1. Update"),
        (text(options="{"), "JSONDecodeError"),
        (lambda metadata: metadata.pop("options"), "KeyError"),
        (options(z_dim="\x1b6"), "TypeError"),
        (options(w_dim=10**12), "of another shape|RuntimeError"),
        (options(output_gain=1), "unexpected keyword argument 'output_gain'"),
        (text(architecture="stylegan2", options='{"resolution": 24}'), "power of 2"),
        (text(architecture="stylegan2", options='{"resolution": 32}'), "missing: mapping.fc2"),
        (options(before=0), "RuntimeError|it would give images"),
        (options(up=10**6), "it would give images"),
        (options(outputs=17), "RuntimeError|another shape"),
        (options(resolution=16), r"images of \[1, 3, 32, 32\]"),
    ],
)
def test_metadata_that_do_not_fit_are_explained(tmp_path, change, match):
    path = tmp_path / "small.safetensors"
    save_generator(path, load_generator(DATA / "stylegan3-t-micro.pkl"))
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
        (b"", "starts with b''"),
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
