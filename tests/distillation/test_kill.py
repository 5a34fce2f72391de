"""SIGKILL at any moment loses nothing: the same student and the same log, bit for bit.

``SYNTHDISTILL_KILLS=30`` makes the short form long.
"""

import json
import os

import pytest

KILLS = int(os.environ.get("SYNTHDISTILL_KILLS", "3"))


@pytest.mark.slow
def test_a_killed_run_ends_in_the_student_of_an_uninterrupted_one(
    in_processes, tiny_plan, tmp_path
):
    # long enough that it is killed as often as it is meant to be
    options = {**tiny_plan, "images_per_epoch": 80 * KILLS, "checkpoint_steps": 2}
    plan = {"do": "kill", "folder": str(tmp_path), "options": options, "kills": KILLS}
    told = json.loads(in_processes({**plan, "seconds": 1.0, "seed": 1}))
    assert told["kills"] == KILLS
    for name in ("student.safetensors", "log.csv", "samples.png"):
        whole, killed = ((tmp_path / run / name).read_bytes() for run in ("whole", "killed"))
        assert whole == killed, name
    # nothing half written is left behind
    assert not list((tmp_path / "killed").glob(".*.tmp"))
    # and a process that does nothing but save always leaves a sound checkpoint
    assert told["saves"] > 0
    assert told["killed during one"] >= 1
