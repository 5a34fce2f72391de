"""A generator's file is recognised by its content."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import generators
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

MICRO = Path(__file__).parents[1] / "data" / "stylegan2-micro.pkl"


def test_the_name_of_the_file_does_not_matter(tmp_path):
    pickled = tmp_path / "pickle.safetensors"
    pickled.write_bytes(MICRO.read_bytes())
    first = generators.load_generator(pickled)
    saved = tmp_path / "safetensors.pkl"
    generators.save_generator(saved, first)
    second = generators.load_generator(str(saved))
    assert first.options == second.options
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_a_loaded_generator_is_frozen():
    generator = generators.load_generator(MICRO)
    assert not any(module.training for module in generator.modules())
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert {tensor.dtype for tensor in generator.state_dict().values()} == {torch.float32}
    found = (generator.z_dim, generator.w_dim, generator.num_ws, generator.resolution)
    assert found == (32, 48, 8, 32)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04 and so on", "a zip archive"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"\x1f\x8b\x08\x00", "starts with"),
    ],
)
def test_other_files_are_named(tmp_path, content, match):
    path = tmp_path / "stylegan2.pkl"
    path.write_bytes(content)
    with pytest.raises(SynthDistillError, match=rf"stylegan2\.pkl holds no generator: .*{match}"):
        generators.load_generator(path)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(SynthDistillError, match=r"cannot read .*Expected a generator"):
            generators.load_generator(path)


def test_the_package_imports_nothing_heavy():
    code = (
        "import sys, bob.paper.ijcb2023_synthdistill.generators; "
        "sys.exit(bool({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
