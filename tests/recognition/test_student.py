import functools
import json
import os
import sys
import time

import huggingface_hub.constants
import pytest
import safetensors
import safetensors.torch
import timm
import torch

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition import student as module
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import (
    create_student,
    load_student,
    read_metadata,
    save_student,
)
from bob.paper.ijcb2023_synthdistill.recognition.teacher import save_teacher

SMALL = "mobilenetv3_small_050"


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
    assert sum(p.numel() for p in student.parameters()) == parameters
    names = [n for n, _ in student.named_parameters()]
    assert names[-2:] == ["linear.weight", "linear.bias"]
    assert all(n.startswith("backbone.") for n in names[:-2])
    assert student.linear.weight.shape == (512, 1280)
    assert student.training
    assert student.eval()(faces()).shape == (2, 512)


@pytest.mark.parametrize("name", [SMALL, "vit_tiny_patch16_224", "tinynet_e.in1k"])
def test_any_timm_model_is_a_student(tmp_path, name):
    student = create_student(name, "random", embedding_size=24).eval()
    assert student.embedding_size == 24
    save_student(tmp_path / "s.safetensors", student)
    loaded = load_student(tmp_path / "s.safetensors")
    assert torch.equal(loaded(faces()), student(faces()))
    assert not loaded.training


def test_random_start_follows_the_seed():
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(create_student("tinyfar-c", "random").state_dict())
    weights = [torch.cat([t.flatten().float() for t in state.values()]) for state in states]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tinyfar-d", "tinyfar-"),
        ("TinyFaR_A", "tinyfar-a"),
        ("mobilenet_v3_small", "mobilenetv3_small"),
        ("tinynet_a.in21k", r"tinynet_a\.in1k"),
        ("hf-hub:someone/something", "expected tinyfar-a, tinyfar-b, tinyfar-c or a timm model"),
    ],
)
def test_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(SynthDistillError, match=near):
        create_student(name, "random")


@pytest.mark.parametrize("name", ["halonet26t", "botnet26t_256", "twins_svt_small"])
def test_model_that_takes_no_faces_is_said(name):
    with pytest.raises(SynthDistillError, match=rf"{name} (does not|cannot).*112.*: \w.*Choose"):
        create_student(name, "random")


def three_choices(error):
    return all(
        f"`{word}`" in error.message for word in ("imagenet", "random")
    ) and "path of a file" in (error.message)


def test_without_a_connection_the_three_choices_are_named_soon(no_network):
    start = time.monotonic()
    with pytest.raises(SynthDistillError, match="ImageNet weights of timm's tinynet_c") as caught:
        create_student("tinyfar-c", initialisation="imagenet")
    assert time.monotonic() - start < 5
    assert three_choices(caught.value)


def test_offline_mode_is_answered_likewise(no_network, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SynthDistillError, match="offline mode is enabled") as caught:
        create_student("tinyfar-c")
    assert three_choices(caught.value)


def test_model_without_imagenet_weights_is_never_started_at_random():
    name = next(n for n in timm.list_models("mobilenet*") if not timm.is_model_pretrained(n))
    with pytest.raises(SynthDistillError, match="No pretrained weights exist") as caught:
        create_student(name)
    assert three_choices(caught.value)


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
    for name, tensor in student.backbone.state_dict().items():
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_starts_from_a_file_of_the_timm_model(tmp_path, suffix):
    torch.manual_seed(3)
    full = timm.create_model("tinynet_c", pretrained=False)
    path = tmp_path / f"tinynet_c.{suffix}"
    if suffix == "pth":
        torch.save(full.state_dict(), path)
    else:
        safetensors.torch.save_file(full.state_dict(), path, {"format": "pt"})
    student = create_student("tinyfar-c", path)
    state = full.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in student.backbone.state_dict().items())
    with pytest.raises(SynthDistillError, match=r"missing: .*blocks"):
        create_student("tinyfar-a", path)


def test_starts_from_another_student(tmp_path):
    path = tmp_path / "student.safetensors"
    first = create_student(SMALL, "random")
    save_student(path, first)
    second = create_student(SMALL, initialisation=str(path))
    assert second.training
    assert torch.equal(second.eval()(faces()), first.eval()(faces()))
    with pytest.raises(SynthDistillError, match=r"linear\.weight \[512, 1024\] instead of"):
        create_student(SMALL, path, embedding_size=64)


def test_mistyped_initialisation_is_a_missing_file():
    with pytest.raises(SynthDistillError, match="cannot read imagnet: No such file"):
        create_student(SMALL, "imagnet")


def test_file_tells_architecture_and_conventions(tmp_path):
    path = tmp_path / "student.safetensors"
    save_student(path, create_student(SMALL, "random"), epoch=3, note="x", format="cheat")
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {
            "format": "synthdistill-student",
            "format_version": "1",
            "architecture": SMALL,
            "embedding_size": "512",
            "input": "aligned faces [B, 3, 112, 112], RGB, [-1, 1]",
            "output": "embeddings [B, embedding_size], not normalised, compared by cosine",
            "epoch": "3",
            "note": "x",
        }
    assert read_metadata(path)["epoch"] == "3"


def test_loading_leaves_random_numbers_alone(tmp_path):
    save_student(tmp_path / "s.safetensors", create_student(SMALL, "random"))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_student(tmp_path / "s.safetensors")
    assert torch.equal(torch.rand(3), expected)


def test_other_files_are_refused_in_words(tmp_path, monkeypatch):
    path = tmp_path / "student.safetensors"
    with pytest.raises(SynthDistillError, match=r"student\.safetensors: No such file"):
        load_student(path)
    monkeypatch.setattr(module, "FORMAT_VERSION", 0)
    save_student(path, create_student(SMALL, "random"))
    monkeypatch.undo()
    with pytest.raises(SynthDistillError, match=r"is of version 0 .*reads version 1"):
        load_student(path)
    save_student(path, create_student(SMALL, "random"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SynthDistillError, match="truncated or damaged"):
        load_student(path)
    save_teacher(path, IResNet((1,), (4,), 8), {})
    with pytest.raises(SynthDistillError, match="names the format 'synthdistill-teacher'"):
        load_student(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(SynthDistillError, match="no format of ours"):
        load_student(path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(SynthDistillError, match="no format of ours"):
        load_student(path)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": None},
        {"embedding_size": "many"},
        {"embedding_size": "-1"},
        {"arguments": "["},
    ],
)
def test_damaged_metadata_is_said(tmp_path, change):
    path = tmp_path / "student.safetensors"
    save_student(path, create_student(SMALL, "random"))
    metadata = {**read_metadata(path), **change}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    state = safetensors.torch.load_file(path)
    safetensors.torch.save_file(state, path, metadata)
    with pytest.raises(SynthDistillError, match="incomplete or damaged"):
        load_student(path)


def test_network_of_another_student_is_said(tmp_path):
    path = tmp_path / "student.safetensors"
    save_student(path, create_student(SMALL, "random"))
    metadata = {**read_metadata(path), "architecture": "tinyfar-c"}
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata)
    with pytest.raises(SynthDistillError, match="not those of this network"):
        load_student(path)
    metadata["architecture"] = "tinyfar-z"
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata)
    with pytest.raises(
        SynthDistillError, match=r"cannot load the student .*no student 'tinyfar-z'"
    ):
        load_student(path)


OWN = """
import torch


class Tiny(torch.nn.Module):
    def __init__(self, width=3, embedding_size=512):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, width, 16, 16)
        self.linear = torch.nn.Linear(width, embedding_size)

    def forward(self, x):
        return self.linear(self.convolution(x).mean((2, 3)))


def make(width: int) -> torch.nn.Module:
    return Tiny(width)


def unannotated(width=3):
    return Tiny(width)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Put a module with a network of the user's own where Python finds it."""
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own_network

    yield own_network
    sys.modules.pop("own_network", None)


@pytest.mark.parametrize("factory", ["Tiny", "make"])
def test_own_network_is_saved_by_its_name_and_found_again(tmp_path, own, factory):
    path = tmp_path / "student.safetensors"
    student = create_student(functools.partial(getattr(own, factory), width=5), "random")
    assert student.embedding_size == 512
    save_student(path, student)
    metadata = read_metadata(path)
    assert metadata["architecture"] == f"own_network:{factory}"
    assert json.loads(metadata["arguments"]) == {"width": 5}
    assert torch.equal(load_student(path)(faces()), student.eval()(faces()))


def test_own_network_that_is_gone_is_said(tmp_path, own):
    path = tmp_path / "student.safetensors"
    save_student(path, create_student(own.Tiny, "random"))
    sys.modules.pop("own_network")
    (tmp_path / "own_network.py").unlink()
    with pytest.raises(SynthDistillError, match=r"own_network:Tiny cannot be imported.*PYTHONPATH"):
        load_student(path)


def test_file_cannot_call_what_it_likes(tmp_path, own):
    path = tmp_path / "student.safetensors"
    save_student(path, create_student(own.Tiny, "random"))
    state, metadata = safetensors.torch.load_file(path), dict(read_metadata(path))
    for target, arguments in (
        ("os:mkdir", {"path": str(tmp_path / "executed")}),
        ("os:makedirs", {"name": str(tmp_path / "executed")}),
        ("subprocess:Popen", {"args": ["touch", str(tmp_path / "executed")]}),
        ("own_network:unannotated", {}),
        ("torch:zeros", {"size": [1]}),
    ):
        metadata |= {"architecture": target, "arguments": json.dumps(arguments)}
        safetensors.torch.save_file(state, path, metadata)
        with pytest.raises(SynthDistillError, match=r"a class derived from torch\.nn\.Module"):
            load_student(path)
    assert not (tmp_path / "executed").exists()


def test_own_network_that_could_not_be_loaded_later_is_refused_at_once(own):
    class Local(torch.nn.Linear):
        pass

    for factory, reason in (
        (Local, "cannot be imported"),
        (lambda: own.Tiny(), "cannot be imported"),
        (own.unannotated, "a function annotated to return one"),
        (own.Tiny(), "a class derived from"),
        (functools.partial(own.Tiny, 3), "have no names"),
        (functools.partial(own.Tiny, width=os), "cannot be written"),
        (functools.partial(own.Tiny, height=3), "refuses the arguments"),
        (functools.partial(own.Tiny, embedding_size=64), "64 elements, 512 were expected"),
        (functools.partial(torch.nn.Linear, in_features=3, out_features=512), "takes? faces"),
        (torch.nn.Identity, "one vector for each was expected"),
    ):
        with pytest.raises(SynthDistillError, match=reason):
            create_student(factory, "random")


def test_own_network_has_no_imagenet_weights(own):
    with pytest.raises(SynthDistillError, match="no ImageNet weights for own_network:Tiny"):
        create_student(own.Tiny)


def test_other_modules_cannot_be_saved_as_students(tmp_path, own):
    with pytest.raises(SynthDistillError, match="Make it with create_student"):
        save_student(tmp_path / "s.safetensors", own.Tiny())
    assert not (tmp_path / "s.safetensors").exists()
