"""Several teachers as one."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition.inference import for_inference
from bob.paper.ijcb2023_synthdistill.recognition.teacher import create_teacher, save_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces import GENERATOR, TEACHER


@pytest.fixture
def teachers(tmp_path, network, own):
    """One of each kind: a file's IResNet, and a network of one's own."""
    save_teacher(tmp_path / "teacher.safetensors", network, {})
    torch.manual_seed(0)
    tiny = own.Tiny(embedding_size=16)
    return tmp_path / "teacher.safetensors", lambda: tiny


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-5), (torch.bfloat16, 2e-2)])
def test_it_is_the_mean_of_what_they_say_and_has_a_fast_form(teachers, images, dtype, tolerance):
    mean = create_teacher(teachers)
    assert mean.embedding_size == 16
    expected = sum(F.normalize(create_teacher(one)(images)) for one in teachers) / 2
    assert torch.equal(mean(images), expected)
    found = for_inference(mean, dtype)(images)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < tolerance * expected.norm()


def test_teachers_of_different_sizes_are_told(teachers, own):
    with pytest.raises(SynthDistillError, match=r"embeddings of \[16, 512\] elements"):
        create_teacher([*teachers, own.Tiny])


def test_a_student_learns_from_two(tmp_path, small_teacher, tiny_run):
    teacher = partial(create_teacher, [TEACHER, small_teacher])
    changed = {"generator": GENERATOR, "teacher": teacher}
    options = replace(tiny_run, **changed, images_per_epoch=32, batch_size=8)
    assert train(options, tmp_path / "run", Stop())
    first, last = (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]
    column = (tmp_path / "run" / "log.csv").read_text().partition("\n")[0].split(",")
    cosines = [float(row.split(",")[column.index("validation_cosine")]) for row in (first, last)]
    assert cosines[1] > cosines[0] > 0
    assert str(TEACHER) in (tmp_path / "run" / "options.json").read_text()
    assert train(options, tmp_path / "run", Stop())  # the same run
