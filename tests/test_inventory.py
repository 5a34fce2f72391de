import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from bob.paper.ijcb2023_synthdistill import fetching, inventory
from bob.paper.ijcb2023_synthdistill.files import (
    GENERATOR,
    STUDENT,
    TEACHER,
    configure_path,
    configured_path,
)
from bob.paper.ijcb2023_synthdistill.inventory import Item, is_complete, take_stock
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student
from bob.paper.ijcb2023_synthdistill.recognition.teacher import save_teacher
from bob.paper.ijcb2023_synthdistill.scripts.fetch import fetch

MICRO = Path(__file__).parent / "data" / "stylegan2-micro.pkl"
BENCHMARKS = ["lfw", "calfw", "cplfw", "cfp-fp", "agedb-30"]


@pytest.fixture(autouse=True)
def rc(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def write_bin(path, pairs):
    image = io.BytesIO()
    Image.new("RGB", (112, 112), (90, 120, 150)).save(image, "JPEG")
    genuine = [k // (pairs // 20) % 2 == 0 for k in range(pairs)]
    path.write_bytes(pickle.dumps(([image.getvalue()] * (2 * pairs), genuine), protocol=4))


def look():
    return {item.name: item for item in take_stock()}


def test_nothing_is_set():
    items = look()
    assert list(items) == ["generator", "teacher", "imagenet", "student", *BENCHMARKS]
    for name in ("generator", "teacher", "student", *BENCHMARKS):
        assert items[name].state == "not set"
        assert items[name].key in items[name].command
    assert items["cfp-fp"].command.startswith("bob config set bob.bio.face.cfp_fp.directory ")
    assert not is_complete(list(items.values()))


def test_weights_are_loaded(tmp_path):
    torch.manual_seed(0)
    save_teacher(tmp_path / "t.safetensors", IResNet((1, 1, 1, 1), (4, 4, 4, 4), 8), {})
    save_student(tmp_path / "s.safetensors", create_student("tinyfar-c", "random"))
    configure_path(GENERATOR, MICRO)
    configure_path(TEACHER, tmp_path / "t.safetensors")
    configure_path(STUDENT, tmp_path / "s.safetensors")
    items = look()
    assert items["generator"].state == "other"
    assert "32 px" in items["generator"].message
    assert items["teacher"].state == "other"
    assert "8 elements" in items["teacher"].message
    assert items["student"].state == "right"
    assert items["student"].message == "tinyfar-c, 1.8 M parameters"
    assert items["student"].command is None

    (tmp_path / "t.safetensors").write_bytes(b"\x80\x02cposix\nsystem\n")
    (tmp_path / "s.safetensors").unlink()
    configure_path(GENERATOR, tmp_path / "t.safetensors")
    items = look()
    assert [items[n].state for n in ("generator", "teacher", "student")] == [
        "wrong",
        "wrong",
        "missing",
    ]
    assert "synthdistill-fetch teacher" in items["teacher"].command


def test_benchmarks_are_counted(tmp_path):
    for name, file, pairs in (("lfw", "lfw.bin", 6000), ("cfp_fp", "cfp_fp.bin", 6000)):
        folder = tmp_path / name
        folder.mkdir()
        write_bin(folder / file, pairs)
        configure_path(f"bob.bio.face.{name}.directory", folder)
    (tmp_path / "empty").mkdir()
    configure_path("bob.bio.face.calfw.directory", tmp_path / "empty")
    configure_path("bob.bio.face.cplfw.directory", tmp_path / "nothing")
    items = look()
    assert items["lfw"].state == "right"
    assert items["lfw"].message.startswith("6,000 pairs: ")
    assert items["cfp-fp"].state == "wrong"  # 7000 are official
    assert items["calfw"].state == "wrong"
    assert items["cplfw"].state == "missing"


def item(**changes):
    made = Item("x", "right", "", "", True, None, None, None)
    return replace(made, **changes)


def test_complete_means_required_and_set_things_are_right():
    assert is_complete([item(), item(required=False, state="not set")])
    assert not is_complete([item(), item(state="not set")])
    assert not is_complete([item(), item(required=False, state="wrong")])
    assert not is_complete([item(), item(state="other")])


def test_check_prints_and_its_status_tells(monkeypatch):
    result = CliRunner().invoke(fetch, ["--check"])
    assert result.exit_code == 1
    assert "mended by   synthdistill-fetch generator --configure" in result.output
    assert "the column AgeDB-30 of tables 1 to 5" in result.output
    result = CliRunner().invoke(fetch, ["--check", "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["complete"] is False
    assert found["items"][0]["key"] == GENERATOR

    monkeypatch.setattr(inventory, "take_stock", lambda images: iter([item()]))
    result = CliRunner().invoke(fetch, ["--check"])
    assert result.exit_code == 0
    assert "All is in place" in result.output


@pytest.mark.parametrize(
    "arguments",
    [[], ["--json"], ["--address", "http://x", "--check"], ["imagenet", "--address", "http://x"]],
)
def test_options_that_do_not_go_together(arguments):
    assert CliRunner().invoke(fetch, arguments).exit_code == 2


def test_generator_is_fetched_loaded_and_configured(tmp_path, monkeypatch):
    """Put the file where the download would (its transfer is tested in test_fetching)."""

    def download(address, path, checksum):
        assert address == "http://127.0.0.1/g.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MICRO.read_bytes())

    monkeypatch.setattr(fetching, "download", download)
    arguments = ["generator", "--address", "http://127.0.0.1/g.pkl"]
    result = CliRunner().invoke(fetch, arguments)
    assert result.exit_code == 0
    path = tmp_path / "data" / "bob.paper.ijcb2023_synthdistill" / "stylegan2-ffhq-256x256.pkl"
    assert f"bob config set {GENERATOR} {path}" in result.output
    assert "its checksum is not known" in result.output
    assert configured_path(GENERATOR) is None
    assert CliRunner().invoke(fetch, [*arguments, "--configure"]).exit_code == 0
    assert configured_path(GENERATOR) == path

    path.write_bytes(MICRO.read_bytes()[:-1000])
    result = CliRunner().invoke(fetch, [*arguments, "--configure"])
    assert result.exit_code == 1
    assert str(path) in result.output


def test_failure_tells_how_to_do_it_by_hand(monkeypatch):
    def download(address, path, checksum):
        raise inventory.SynthDistillError("no")

    monkeypatch.setattr(fetching, "download", download)
    result = CliRunner().invoke(fetch, ["generator"])
    assert result.exit_code == 1
    assert "catalog.ngc.nvidia.com" in result.output
    assert "stylegan2-ffhq-256x256.pkl" in result.output
    assert f"bob config set {GENERATOR} PATH" in result.output
