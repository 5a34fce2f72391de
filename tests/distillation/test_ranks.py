"""Several processes learn what one learns, and go on where another number of them stopped."""

import csv

import pytest
import torch
from safetensors.torch import load_file

# the last is of the TinyFaRs' family: timm's batch norms with their activations
STUDENTS = {
    "Tiny without batch norm": ("adam", 2),
    "Tiny": ("sgd", 4),
    "test_efficientnet": ("adam", 2),
}


def rows(folder):
    with (folder / "log.csv").open() as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


@pytest.mark.slow
def test_processes_learn_the_student_of_one_in_float64(in_processes, tiny_plan, tmp_path):
    # twenty updates; in float32 rounding alone takes them apart, and our inference forms compute in
    # float32 at most
    options = {**tiny_plan, "batch_size": 8, "images_per_epoch": 80, "plain": True}
    plans = []
    for student, (optimizer, ranks) in STUDENTS.items():
        folder = tmp_path / student
        folder.mkdir()
        plan = {"do": "exact", "student": student, "ranks": [1, ranks], "iterations": 10}
        more = {"replay": 1, "augmentation": "geometry"} if student == "Tiny" else {}
        plan["options"] = {**options, **more, "optimizer": optimizer}
        plans.append({**plan, "folder": str(folder)})
    in_processes(*plans)
    for student, (_, ranks) in STUDENTS.items():
        one, several = (torch.load(tmp_path / student / f"{n}.pt") for n in (1, ranks))
        assert several.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(several[name], value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.slow
def test_runs_of_several_processes(in_processes, tiny_plan, tmp_path):
    def go(name, ranks, epochs, **options):
        more = {"optimizer": "sgd", "replay": 1, "replay_images": 12}
        options = {**tiny_plan, "epochs": epochs, **more, **options}
        folder = str(tmp_path / name)
        return {"do": "train", "ranks": ranks, "folder": folder, "options": options}

    ones = go("ones", 2, 1, loss="ones", checkpoint_steps=3, replay=0)
    in_processes(
        go("one", 1, 2),
        *({**go("several", 2, 1), "nodes": 2}, go("several", 1, 2)),
        *({**ones, "stop": 4}, ones),
        {**go("spoilt", 2, 2, loss="ones", replay=0), "do": "spoil"},
    )
    # after one process on each of two nodes it goes on with one
    one, several = (load_file(tmp_path / n / "student.safetensors") for n in ("one", "several"))
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=1e-3, atol=1e-4, msg=name)
    for first, other in zip(rows(tmp_path / "one"), rows(tmp_path / "several"), strict=True):
        assert other == pytest.approx(first, rel=1e-3)
    # stopped within an epoch, the mean losses of that epoch are right
    assert rows(tmp_path / "ones")[0]["loss_fresh"] == pytest.approx(1.0)
    # a loss that is not finite on one process ends all, in words
    for rank in "01":
        assert "the loss is not finite" in (tmp_path / "spoilt" / rank).read_text()
