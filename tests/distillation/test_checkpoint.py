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


def state(number):
    return {"iteration": number, "student": {"w": torch.full((50,), float(number))}}


def test_what_is_saved_is_loaded(tmp_path):
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, state(1))
    save_checkpoint(tmp_path, state(2))
    loaded = load_checkpoint(tmp_path)
    assert loaded["iteration"] == 2
    assert torch.equal(loaded["student"]["w"], state(2)["student"]["w"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [LAST, PREVIOUS]


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "garbage"])
def test_a_damaged_last_one_is_reported_and_the_previous_used(tmp_path, damage, caplog):
    save_checkpoint(tmp_path, state(1))
    save_checkpoint(tmp_path, state(2))
    path = tmp_path / LAST
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        del content[len(content) // 2 :]
    elif damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "empty":
        content.clear()
    else:
        content = bytearray(b"garbage" * 100)
    path.write_bytes(content)
    assert load_checkpoint(tmp_path)["iteration"] == 1
    assert LAST in caplog.text
    assert PREVIOUS in caplog.text
    (tmp_path / PREVIOUS).write_bytes(b"")
    with pytest.raises(SynthDistillError, match="no sound checkpoint"):
        load_checkpoint(tmp_path)


def test_a_newer_format_is_refused_in_words(tmp_path):
    save_checkpoint(tmp_path, state(1))
    content = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(content.replace(b"checkpoint 2\n", b"checkpoint 9\n", 1))
    with pytest.raises(SynthDistillError, match="format 9"):
        load_checkpoint(tmp_path)


def test_a_failed_write_keeps_the_former_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, state(1))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SynthDistillError, match="No space left on device"):
        save_checkpoint(tmp_path, state(2))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path)["iteration"] == 1
    assert not list(tmp_path.glob(".last*"))


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit(3)",))

    save_checkpoint(tmp_path, {"iteration": Evil()})
    with pytest.raises(SynthDistillError, match="no sound checkpoint"):
        load_checkpoint(tmp_path)
