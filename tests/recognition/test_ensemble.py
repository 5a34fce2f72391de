"""Several teachers as one."""

import csv
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.networks import freeze
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, read_record
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.inference import FoldedTeacher
from bob.paper.ijcb2023_synthdistill.recognition.student import load_student
from bob.paper.ijcb2023_synthdistill.recognition.teacher import create_teacher, save_teacher
from bob.paper.ijcb2023_synthdistill.toyfaces import GENERATOR, TEACHER


@pytest.fixture
def teachers(tmp_path, network, own):
    """One of each kind: a file's IResNet, and a network of one's own."""
    save_teacher(tmp_path / "teacher.safetensors", network, {})
    torch.manual_seed(0)
    tiny = own.Tiny(embedding_size=16)
    return tmp_path / "teacher.safetensors", lambda: tiny


@pytest.mark.parametrize(("precision", "tolerance"), [("auto", 1e-5), ("bf16", 2e-2)])
@pytest.mark.parametrize("combine", ["mean", "concatenation"])
def test_each_has_its_say_and_its_fast_form(
    teachers, images, tiny_run, precision, tolerance, combine
):
    ensemble = create_teacher(teachers, combine)
    said = [F.normalize(create_teacher(one)(images)) for one in teachers]
    expected = sum(said) / 2 if combine == "mean" else torch.cat(said, dim=1)
    assert ensemble.embedding_size == expected.shape[1]
    assert torch.equal(ensemble(images), expected)
    _, fast = freeze(Generator(4, 4, 4), ensemble, replace(tiny_run, precision=precision))
    assert isinstance(fast.members[0], FoldedTeacher)
    found = fast(images)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < tolerance * expected.norm()


def test_what_cannot_be_an_ensemble_is_told(teachers, own, tiny_run):
    with pytest.raises(SynthDistillError, match=r"embeddings of \[16, 16, 512\] elements"):
        create_teacher([*teachers, own.Tiny])
    with pytest.raises(SynthDistillError, match="'sum'"):
        create_teacher(teachers, "sum")
    with pytest.raises(SynthDistillError, match="option teacher: expected"):
        replace(tiny_run, teacher=[])


def trained(options, folder):
    """Train; give what is recorded, and each epoch's cosine with the teachers."""
    assert train(options, folder, Stop())
    with (folder / "log.csv").open() as stream:
        cosines = [float(row["validation_cosine"]) for row in csv.DictReader(stream)]
    return read_record(folder / "options.json"), cosines


def test_a_student_learns_from_two_files_that_must_not_change(tmp_path, small_teacher, tiny_run):
    other = tmp_path / "other.safetensors"
    shutil.copy(small_teacher, other)
    changed = {"generator": GENERATOR, "images_per_epoch": 32, "batch_size": 8}
    options = replace(tiny_run, **changed, teacher=f"{TEACHER},{other}")
    record, cosines = trained(options, tmp_path / "mean")
    assert cosines[1] > cosines[0] > 0
    hashes = [record["files"][f"teacher {n}"]["sha256"] for n in (1, 2)]
    assert record["options"]["teacher"] == hashes
    # by a callable, as a concatenation
    teacher = partial(create_teacher, [TEACHER, other], combine="concatenation")
    both = replace(options, teacher=teacher, epochs=1, images_per_epoch=8, validation_images=0)
    record, _ = trained(both, tmp_path / "both")
    assert hashes[1] in record["options"]["teacher"]
    assert load_student(tmp_path / "both" / "student.safetensors").embedding_size == 1024
    shutil.copy(TEACHER, other)
    for run, folder in ((options, "mean"), (both, "both")):
        with pytest.raises(SynthDistillError, match="teacher was"):
            train(run, tmp_path / folder, Stop())
