"""SIGKILL at any moment loses nothing: the same student and the same log, bit for bit.

``SYNTHDISTILL_KILLS=30`` makes the short form long.
"""

import json
import os

import pytest

from bob.paper.ijcb2023_synthdistill.distillation.checkpoint import load_checkpoint

KILLS = int(os.environ.get("SYNTHDISTILL_KILLS", "3"))


@pytest.mark.slow
def test_a_killed_run_ends_in_the_student_of_an_uninterrupted_one(
    in_processes, tiny_plan, tmp_path
):
    # long enough that it is killed as often as it is meant to be
    options = {**tiny_plan, "images_per_epoch": 80 * KILLS, "checkpoint_steps": 2}
    in_processes({"do": "compare", "ranks": [1], "folder": str(tmp_path), "options": options})
    killed = tmp_path / "killed"
    plan = {"do": "kill", "folder": str(killed), "options": options}
    told = json.loads(in_processes({**plan, "kills": KILLS, "seconds": 1.0, "seed": 1}))
    assert told["kills"] == KILLS
    for name in ("student.safetensors", "log.csv", "samples.png"):
        assert (killed / name).read_bytes() == (tmp_path / "1" / name).read_bytes(), name
    # nothing half written is left behind
    assert not list(killed.glob("*.tmp")) + list(killed.glob(".*.tmp"))


def test_kills_during_saves_leave_a_sound_checkpoint(in_processes, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    plan = {"do": "kill savers", "folder": str(folder), "kills": 30, "size": 10**5}
    told = json.loads(in_processes({**plan, "seconds": 0.05, "seed": 2}))
    assert told["killed during one"] >= 1
    assert load_checkpoint(folder)["iteration"] == told["saves"] > 0
