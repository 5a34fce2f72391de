import functools
import logging
import sys
import time

import huggingface_hub.constants
import pytest
import safetensors
import safetensors.torch
import timm
import torch
from torch import nn

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition import student as module
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import (
    count_parameters,
    create_student,
    load_student,
    save_student,
)
from bob.paper.ijcb2023_synthdistill.recognition.teacher import save_teacher

SMALL = "mobilenetv3_small_050"

STRANGE = ("hf-hub:a/tinynet_a", "hf_hub:a/b.in1k", "local-dir:/tmp/model", "/tmp/tinynet_a", "a/b")
"""Where timm would look for code's arguments and weights other than its own."""


def faces(count=2):
    return torch.rand(count, 3, 112, 112, generator=torch.manual_seed(1)) * 2 - 1


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Point Hugging Face's library to an empty cache and to a port where nobody listens."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    return tmp_path / "hub"


# shared/facts name these as computed of the published students
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("tinyfar-a", 5_562_844), ("tinyfar-b", 3_105_434), ("tinyfar-c", 1_832_106)],
)
def test_tinyfar_has_its_published_size(name, parameters):
    student = create_student(name, initialisation="random")
    assert count_parameters(student) == parameters
    names = [n for n, _ in student.named_parameters()]
    assert names[-2:] == ["linear.weight", "linear.bias"]
    assert all(n.startswith("backbone.") for n in names[:-2])
    assert student.linear.weight.shape == (512, 1280)
    assert student.training
    assert student.eval()(faces()).shape == (2, 512)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "tinynet_e.in1k"])
def test_any_timm_model_is_a_student(tmp_path, name):
    student = create_student(name, "random", embedding_size=24).eval()
    assert student.embedding_size == 24
    save_student(tmp_path / "s.safetensors", student)
    before = torch.get_rng_state()
    loaded = load_student(tmp_path / "s.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(loaded(faces()), student(faces()))
    assert not loaded.training


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tinyfar-d", "Did you mean 'tinyfar-"),
        ("TinyFaR_A", "Did you mean 'tinyfar-a'"),
        ("mobilenet_v3_small", "Did you mean 'mobilenetv3_small"),
        ("tinynet_a.in21k", r"Did you mean 'tinynet_a\.in1k'"),
        *((name, "expected tinyfar-a, tinyfar-b, tinyfar-c or a timm model") for name in STRANGE),
    ],
)
def test_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(SynthDistillError, match=near):
        create_student(name, "random")


@pytest.mark.parametrize("name", ["halonet26t", "twins_svt_small"])
def test_model_that_takes_no_faces_is_said(name):
    with pytest.raises(SynthDistillError, match=rf"{name} (does not|cannot).*112.*: \w.*Choose"):
        create_student(name, "random")


def says_three_choices(error):
    words = ("`imagenet`", "`random`", "path of a file")
    return all(word in error.message for word in words)


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_connection_the_three_choices_are_named_soon(no_network, monkeypatch, offline):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    start = time.monotonic()
    with pytest.raises(SynthDistillError, match="ImageNet weights of timm's tinynet_c") as caught:
        create_student("tinyfar-c", initialisation="imagenet")
    assert time.monotonic() - start < 5
    assert says_three_choices(caught.value)
    assert ("offline mode is enabled" in caught.value.message) == offline


def test_model_without_imagenet_weights_is_never_started_at_random():
    name = next(n for n in timm.list_models("mobilenet*") if not timm.is_model_pretrained(n))
    with pytest.raises(SynthDistillError, match="No pretrained weights exist") as caught:
        create_student(name)
    assert says_three_choices(caught.value)


def test_cached_imagenet_weights_are_used_without_a_connection(no_network):
    torch.manual_seed(3)
    full = timm.create_model("tinynet_c", pretrained=False)
    repository = no_network / "models--timm--tinynet_c.in1k"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    safetensors.torch.save_file(full.state_dict(), snapshot / "model.safetensors")

    torch.manual_seed(4)
    student = create_student("tinyfar-c")
    expected = full.state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in student.backbone.state_dict().items())


def test_starts_from_a_file_of_the_timm_model(tmp_path):
    full = timm.create_model("tinynet_c")
    path = tmp_path / "tinynet_c.safetensors"
    safetensors.torch.save_file(full.state_dict(), path, {"format": "pt"})
    student = create_student("tinyfar-c", path)
    state = full.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in student.backbone.state_dict().items())
    with pytest.raises(SynthDistillError, match=r"missing: .*blocks"):
        create_student("tinyfar-a", path)


def test_file_tells_architecture_and_conventions(tmp_path):
    path = tmp_path / "student.safetensors"
    save_student(path, create_student(SMALL, "random"), epoch=3, note="x", format="cheat")
    assert read_metadata(path) == {
        "format": "synthdistill-student",
        "format_version": "1",
        "architecture": SMALL,
        "embedding_size": "512",
        "input": "aligned faces [B, 3, 112, 112], RGB, [-1, 1]",
        "output": "embeddings [B, embedding_size], not normalised, compared by cosine",
        "epoch": "3",
        "note": "x",
    }


def test_other_files_are_refused_in_words(tmp_path, monkeypatch):
    path = tmp_path / "student.safetensors"
    monkeypatch.setattr(module, "FORMAT_VERSION", 0)
    save_student(path, create_student(SMALL, "random"))
    monkeypatch.undo()
    with pytest.raises(SynthDistillError, match=r"is of version '0' .*reads 1"):
        load_student(path)
    save_teacher(path, IResNet((1,), (4,), 8), {})
    with pytest.raises(SynthDistillError, match="its format is 'synthdistill-teacher'"):
        load_student(path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(SynthDistillError, match="its format is 'none'"):
        load_student(path)
    torch.save({"cnn.weight": torch.zeros(3), "fc.weight": torch.zeros(2, 3)}, path)
    with pytest.raises(SynthDistillError, match="missing: backbone"):
        load_student(path)


def read_metadata(path):
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata()


def rewritten(path, **changes):
    """Write a student's file again with other metadata; None removes one."""
    metadata = {**read_metadata(path), **changes}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata)
    return path


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (None, "cannot load the student .*there is no student ''"),
        ("tinyfar-z", "cannot load the student .*no student 'tinyfar-z'"),
        ("tinyfar-c", "not those of this network"),
        *((name, "no student") for name in (*STRANGE, "own_network:Tiny")),
    ],
)
def test_architecture_in_a_file_is_a_name_of_timms(tmp_path, own, architecture, words):
    path = tmp_path / "student.safetensors"
    save_student(path, create_student(SMALL, "random"))
    with pytest.raises(SynthDistillError, match=words):
        load_student(rewritten(path, architecture=architecture))


# the published code's students: cnn.* of timm's tinynet without classifier, fc.*


@pytest.mark.parametrize("name", ["tinyfar-a", "tinyfar-b", "tinyfar-c"])
def test_students_of_the_published_code_are_read(tmp_path, name):
    published = nn.Module()
    published.cnn = timm.create_model(module.TINYFAR[name], num_classes=0)
    published.fc = nn.Linear(1280, 512)
    path = tmp_path / "light_model_20.pt"
    torch.save(published.state_dict(), path)
    student = load_student(path)
    assert student.architecture == name
    assert not student.training
    expected = published.eval().fc(published.cnn(faces()))
    assert torch.equal(student(faces()), expected)
    assert torch.equal(create_student(name, path).eval()(faces()), expected)
    save_student(path, student)  # a student like any other
    assert torch.equal(load_student(path)(faces()), expected)


# networks of the user's own


@pytest.fixture
def own_file(tmp_path, own):
    """Save a student of one's own."""
    path = tmp_path / "student.safetensors"
    torch.manual_seed(0)
    student = create_student(functools.partial(own.Tiny, width=5), "random")
    save_student(path, student, epoch=2)
    return path, student.eval()


def test_own_network_is_given_by_code_and_compared_with_the_file(own_file, own, caplog):
    path, student = own_file
    assert student.embedding_size == 512
    metadata = read_metadata(path)
    assert metadata["network"] == "own_network:Tiny"
    assert "architecture" not in metadata
    # the tensors have the network's own names, for anybody's use
    own.Tiny(5).load_state_dict(safetensors.torch.load_file(path))
    loaded = load_student(path, network=functools.partial(own.Tiny, width=5))
    assert torch.equal(loaded(faces()), student(faces()))
    assert not loaded.training
    assert not caplog.records
    with pytest.raises(SynthDistillError, match=r"3 of another shape: convolution\.bias"):
        load_student(path, network="own_network:Tiny")
    with caplog.at_level(logging.WARNING):
        load_student(path, network=lambda: own.Tiny(5))
    assert "was 'own_network:Tiny' when it was saved, not " in caplog.text
    with pytest.raises(SynthDistillError, match=r"student_pipeline\('.*', network=MyNetwork\)"):
        load_student(path)
    save_student(path, create_student(SMALL, "random"))
    with pytest.raises(SynthDistillError, match=f"is timm's '{SMALL}', not own_network:Tiny"):
        load_student(path, network=own.Tiny)


def test_a_file_imports_and_calls_nothing(tmp_path, monkeypatch, own_file):
    path, _ = own_file
    executed = tmp_path / "executed"
    # something that has the form of a student in every way: only nobody asked for it but the file
    (tmp_path / "prepared.py").write_text(
        f"import pathlib, own_network\npathlib.Path({str(executed)!r}).touch()\n"
        "class Tiny(own_network.Tiny):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    rewritten(path, network="prepared:Tiny", arguments='{"width": 5}')
    with pytest.raises(SynthDistillError, match="a network of somebody's own, 'prepared:Tiny'"):
        load_student(path)
    with pytest.raises(SynthDistillError, match=r"package\.module:name"):
        load_student(path, network="")
    load_student(path, network=functools.partial(sys.modules["own_network"].Tiny, width=5))
    assert "prepared" not in sys.modules
    assert not executed.exists()


def test_own_network_starts_from_its_student_or_its_own_state_dict(tmp_path, own):
    first = create_student(own.Tiny, "random").eval()
    expected = first.network
    save_student(tmp_path / "student", first)
    torch.save(expected.state_dict(), tmp_path / "mine")
    for student in (
        create_student("own_network:Tiny", tmp_path / "student"),
        create_student("own_network:Tiny", tmp_path / "mine"),
        load_student(tmp_path / "mine", network=own.Tiny),
    ):
        assert torch.equal(student.eval()(faces()), expected(faces()))
    with pytest.raises(SynthDistillError, match=r"convolution\.bias \[3\] instead of \[4\]"):
        create_student(own.make, tmp_path / "mine")


def test_own_network_has_the_teachers_size_and_no_imagenet_weights(own):
    with pytest.raises(SynthDistillError, match="64 elements, 512 were expected"):
        create_student(functools.partial(own.Tiny, embedding_size=64), "random")
    with pytest.raises(SynthDistillError, match="no ImageNet weights for own_network:Tiny"):
        create_student(own.Tiny)
