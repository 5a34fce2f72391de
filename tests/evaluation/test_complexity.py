import pytest
import torch

from bob.paper.ijcb2023_synthdistill.evaluation.complexity import (
    count_multiply_adds,
    model_properties,
)
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import LAYERS, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student


@pytest.mark.parametrize(
    ("name", "millions"), [("tinyfar-a", 126.8), ("tinyfar-b", 75.5), ("tinyfar-c", 38.2)]
)
def test_students_cost_what_is_published(name, millions):
    assert round(count_multiply_adds(create_student(name, "random")) / 1e6, 1) == millions


def test_teacher_costs_what_is_published():
    with torch.device("meta"):
        teacher = IResNet(LAYERS["iresnet100"])
    assert round(count_multiply_adds(teacher) / 1e9, 1) == 12.1


def test_a_student_of_ones_own_is_made_by_what_is_named(tmp_path):
    from pair_world import Viewing

    path = tmp_path / "student.safetensors"
    save_student(path, create_student(Viewing, "random", embedding_size=4 * 28 * 28))
    for named in ([], ["pair_world:Pair", "pair_world:Zero"]):
        with pytest.raises(SynthDistillError, match=r"'pair_world:Viewing'.*--network MODULE:NAME"):
            model_properties(path, "student", networks=named)
    for named in (["pair_world:Zero", "pair_world:Viewing"], ["pair_world:Viewing"]):
        found = model_properties(path, "student", networks=named)
        assert found["parameters"] == 4 * 3 * 16 + 4


def test_a_files_model_is_measured(student_file, small_teacher):
    found = model_properties(student_file, "student", timed=True)
    assert found["file_size"] == student_file.stat().st_size
    assert 0.5e6 < found["parameters"] < 2e6
    assert 0 < found["seconds"] < 10
    assert model_properties(small_teacher, "teacher")["seconds"] is None
