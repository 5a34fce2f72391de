"""Several processes learn what one learns, and go on where another number of them stopped."""

import csv

import pytest
import torch
from safetensors.torch import load_file


def rows(folder):
    with (folder / "log.csv").open() as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "optimizer"),
    # the last is of the TinyFaRs' family: timm's batch norms with their activations
    [("Tiny without batch norm", "adam"), ("Tiny", "sgd"), ("test_efficientnet", "adam")],
)
def test_processes_learn_the_student_of_one_in_float64(
    in_processes, tiny_plan, tmp_path, student, optimizer
):
    # twenty updates; in float32 rounding alone takes them apart
    options = {**tiny_plan, "batch_size": 8, "images_per_epoch": 80, "optimizer": optimizer}
    options["plain"] = True  # our inference forms compute in float32 at most
    in_processes(
        {
            "do": "exact",
            "ranks": [1, 2, 4],
            "iterations": 10,
            "student": student,
            "folder": str(tmp_path),
            "options": options,
        }
    )
    one = torch.load(tmp_path / "1.pt")
    for ranks in (2, 4):
        several = torch.load(tmp_path / f"{ranks}.pt")
        assert several.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(several[name], value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(in_processes, tiny_plan, tmp_path):
    def go(name, ranks, epochs):
        options = {**tiny_plan, "epochs": epochs, "optimizer": "sgd"}
        plan = {"do": "compare", "ranks": [ranks], "name": name, "folder": str(tmp_path)}
        in_processes({**plan, "options": options})

    go("one", 1, 2)
    go("several", 2, 1)
    go("several", 1, 2)
    one, several = (load_file(tmp_path / n / "student.safetensors") for n in ("one", "several"))
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=1e-3, atol=1e-4, msg=name)
    for first, other in zip(rows(tmp_path / "one"), rows(tmp_path / "several"), strict=True):
        assert other == pytest.approx(first, rel=1e-3)


@pytest.mark.slow
def test_processes_that_stop_within_an_epoch_log_its_mean_losses(in_processes, tiny_plan, tmp_path):
    options = {**tiny_plan, "epochs": 1, "loss": "ones", "checkpoint_steps": 3}
    plan = {"do": "compare", "ranks": [2], "name": "run", "folder": str(tmp_path)}
    in_processes({**plan, "options": options, "stop": 4})
    assert not (tmp_path / "run" / "log.csv").exists()
    in_processes({**plan, "options": options})
    assert rows(tmp_path / "run")[0]["loss_fresh"] == pytest.approx(1.0)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_process_ends_all_in_words(
    in_processes, tiny_plan, tmp_path
):
    in_processes({"do": "spoil", "folder": str(tmp_path), "options": {**tiny_plan, "loss": "ones"}})
    for rank in "01":
        assert "the loss is not finite" in (tmp_path / rank).read_text()
