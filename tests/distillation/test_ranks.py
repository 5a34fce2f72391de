"""Several processes learn what one learns, and go on where another number of them stopped."""

import csv

import pytest
import torch
from safetensors.torch import load_file


def rows(folder):
    with (folder / "log.csv").open() as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


def distance(first, second):
    first, second = (load_file(folder / "student.safetensors") for folder in (first, second))
    names = [name for name in first if first[name].is_floating_point()]
    first, second = (
        torch.cat([weights[name].double().flatten() for name in names])
        for weights in (first, second)
    )
    return ((first - second).norm() / first.norm()).item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "optimizer", "images", "near", "log"),
    [
        ("Tiny", "sgd", 4, 1e-5, 1e-5),
        ("Tiny without batch norm", "adam", 4, 1e-5, 1e-5),
        # of the TinyFaRs' family, with batch norms, as the paper trains them: Adam makes steps
        # as large of what is only rounding, so nothing may be
        ("test_efficientnet", "adam", 8, 1e-5, 1e-5),
    ],
)
def test_two_and_four_processes_learn_the_student_of_one(
    in_processes, tiny_plan, tmp_path, student, optimizer, images, near, log
):
    # a hundred updates
    options = {**tiny_plan, "epochs": 1, "images_per_epoch": 50 * images, "batch_size": images}
    options |= {"student": student, "optimizer": optimizer, "sync_batchnorm": True}
    in_processes({"do": "compare", "ranks": [1, 2, 4], "folder": str(tmp_path), "options": options})
    for ranks in ("2", "4"):
        # parameters and running statistics together, relative to their norm
        assert distance(tmp_path / "1", tmp_path / ranks) < near
        for one, several in zip(rows(tmp_path / "1"), rows(tmp_path / ranks), strict=True):
            assert several == pytest.approx(one, rel=log)
        # whoever loads the student needs no process group
        assert load_file(tmp_path / ranks / "student.safetensors").keys() == (
            load_file(tmp_path / "1" / "student.safetensors").keys()
        )


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(in_processes, tiny_plan, tmp_path):
    def go(name, ranks, epochs):
        options = {**tiny_plan, "epochs": epochs, "optimizer": "sgd"}
        plan = {"do": "compare", "ranks": [ranks], "name": name, "folder": str(tmp_path)}
        in_processes({**plan, "options": options})

    go("one", 1, 3)
    go("several", 2, 1)
    go("several", 1, 2)
    go("several", 4, 3)
    assert distance(tmp_path / "one", tmp_path / "several") < 1e-5
    for one, several in zip(rows(tmp_path / "one"), rows(tmp_path / "several"), strict=True):
        assert several == pytest.approx(one, rel=1e-5)


@pytest.mark.slow
def test_micro_batches_are_divided_among_processes(in_processes, tiny_plan, tmp_path):
    # two processes that each take their share in one piece see what one sees in two pieces:
    # without synchronised batch norms the pieces are the same as those of one process
    options = {**tiny_plan, "epochs": 1, "sync_batchnorm": False}
    plan = {"do": "compare", "folder": str(tmp_path)}
    in_processes({**plan, "ranks": [1], "options": {**options, "micro_batch_size": 2}})
    in_processes({**plan, "ranks": [2], "options": options})
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert two[0]["loss_fresh"] == pytest.approx(one[0]["loss_fresh"], rel=1e-5)
