"""Checkpoints are whole or absent, and a damaged one is never trusted."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import (
    LAST,
    PREVIOUS,
    load_checkpoint,
    save_checkpoint,
)
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def folder(tmp_path):
    """A folder with two checkpoints."""
    for number in (1, 2):
        state = {"epoch": number, "student": {"w": torch.full((50,), float(number))}}
        save_checkpoint(tmp_path, state)
    return tmp_path


def test_what_is_saved_is_loaded(tmp_path, folder):
    assert load_checkpoint(tmp_path / "nowhere") is None
    loaded = load_checkpoint(folder)
    assert loaded["epoch"] == 2
    assert torch.equal(loaded["student"]["w"], torch.full((50,), 2.0))
    assert sorted(p.name for p in folder.iterdir()) == [LAST, PREVIOUS]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: b"",
        lambda content: b"garbage" * 100,
        lambda content: content.replace(b"checkpoint 2\n", b"checkpoint 9\n", 1),
    ],
    ids=["truncated", "a bit flipped", "empty", "garbage", "another format"],
)
def test_a_damaged_last_one_is_reported_and_the_previous_used(folder, damage, caplog):
    path = folder / LAST
    path.write_bytes(damage(path.read_bytes()))
    assert load_checkpoint(folder)["epoch"] == 1
    assert LAST in caplog.text
    assert PREVIOUS in caplog.text
    (folder / PREVIOUS).write_bytes(b"")
    with pytest.raises(SynthDistillError, match="no sound checkpoint"):
        load_checkpoint(folder)


def test_a_failed_write_keeps_a_sound_one(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SynthDistillError, match="No space left on device"):
        save_checkpoint(folder, {"epoch": 3})
    assert load_checkpoint(folder)["epoch"] == 2
    assert not list(folder.glob(".last*"))


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit(3)",))

    save_checkpoint(tmp_path, {"epoch": Evil()})
    with pytest.raises(SynthDistillError, match="no sound checkpoint"):
        load_checkpoint(tmp_path)
