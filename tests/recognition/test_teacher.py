import copy
import logging

import pytest
import safetensors
import torch

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition import teacher as module
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import LAYERS, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import (
    Teacher,
    create_teacher,
    load_teacher,
    save_teacher,
)

BOB = "iresnet100-73e07ba7.pth"


def save(network, path, count=0):
    """Write a state dict whose batch norms saw ``count`` batches, or count none."""
    state = network.state_dict()
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        state[name] += count or 0
        if count is None:
            del state[name]
    torch.save(state, path)
    return path


def eps_of(teacher):
    norms = [m for m in teacher.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    (eps,) = {norm.eps for norm in norms}
    return eps


def test_a_state_dict_of_parallel_training_is_a_frozen_teacher(tmp_path, network, images):
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict_backbone": state, "epoch": 3}, tmp_path / BOB)
    teacher = load_teacher(tmp_path / BOB)
    assert teacher.embedding_size == 16
    assert torch.equal(teacher(images), network(faces.for_teacher(images)))
    # frozen, whatever is around it
    before = copy.deepcopy(teacher.state_dict())
    torch.nn.ModuleList([teacher]).train()
    assert not any(child.training for child in teacher.modules())
    assert not teacher(images).requires_grad
    assert all(torch.equal(tensor, before[n]) for n, tensor in teacher.state_dict().items())


def test_own_safetensors_keep_everything(tmp_path, network, images):
    network.eps = 3e-4
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, network, {"trained_on": "toyfaces", "steps": 7})
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    expected = {"trained_on": "toyfaces", "steps": "7", "layers": "[1, 2, 1, 1]"}
    assert metadata.items() >= {**expected, "widths": "[4, 6, 8, 10]"}.items()
    assert metadata["input"].endswith("(pixel - 127.5) / 128")
    teacher = load_teacher(path)
    assert eps_of(teacher) == 3e-4
    assert eps_of(load_teacher(path, eps=1e-5)) == 1e-5
    assert load_teacher(path).embedding_size == 16


@pytest.mark.parametrize(
    ("name", "count", "eps"),
    [
        (BOB, 1000, 2e-5),
        ("iresnet50-7f187506.pth", 1000, 2e-5),
        ("backbone.pth", 1000, 1e-5),
        ("renamed.pth", 0, 2e-5),
        ("some.pth", None, 2e-5),
    ],
)
def test_eps_follows_from_where_the_file_comes_from(tmp_path, network, caplog, name, count, eps):
    path = save(network, tmp_path / name, count)
    with caplog.at_level(logging.WARNING):
        assert eps_of(load_teacher(path)) == eps
    # told where there is nothing to go by
    assert ("give eps to load_teacher" in caplog.text) == (name == "some.pth")
    assert eps_of(load_teacher(path, eps=5e-5)) == 5e-5


WRONG = {
    "another network's": ({"blocks.0.weight": torch.zeros(2)}, r"an IResNet.*blocks\.0\.weight"),
    "a number of dimensions": ({"fc.weight": torch.zeros(16)}, "expected an IResNet"),
    "a shape": ({"fc.weight": torch.zeros(16, 640)}, r"\[16, 640\] instead of \[16, 490\]"),
    # nothing of this size is allocated
    "a size": ({"layer3.0.conv1.weight": torch.zeros(1).expand(10**7, 10**7, 3, 3)}, "shape"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_tensors_that_are_no_teacher_s_are_told(tmp_path, network, wrong, monkeypatch):
    changes, words = WRONG[wrong]
    state = changes if "another" in wrong else network.state_dict() | changes
    monkeypatch.setattr(module, "read_weights", lambda *_: (state, {}))
    (tmp_path / BOB).touch()
    with pytest.raises(SynthDistillError, match=words):
        load_teacher(tmp_path / BOB)


def test_other_files_are_told(tmp_path, network, monkeypatch):
    path = tmp_path / "teacher.safetensors"
    monkeypatch.setattr(module, "FORMAT", "synthdistill-student")
    save_teacher(path, network, {})
    monkeypatch.undo()
    with pytest.raises(SynthDistillError, match="its format is 'synthdistill-student'"):
        load_teacher(path)
    network.eps = "much"
    save_teacher(path, network, {})
    with pytest.raises(SynthDistillError, match=r"is not a teacher.*much"):
        load_teacher(path)
    path.write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(SynthDistillError, match="is an archive: unpack it"):
        load_teacher(path)


@pytest.mark.parametrize("name", LAYERS)
def test_architecture_is_read_from_names_and_shapes(tmp_path, name, monkeypatch):
    monkeypatch.setattr(module, "load_weights", lambda *_: None)
    with torch.device("meta"):
        state = IResNet(LAYERS[name]).state_dict()
    network = module.make_iresnet(state, tmp_path, 1e-5)
    assert network.layers == LAYERS[name]
    assert network.widths == (64, 128, 256, 512)
    assert network.embedding_size == 512


# teachers of the user's own


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, lambda pixels: (pixels - 127.5) / 128),
        ({"std": 127.5}, lambda pixels: (pixels - 127.5) / 127.5),
        ({"mean": 0.0, "std": 255.0, "colour": "BGR"}, lambda pixels: pixels[:, [2, 1, 0]] / 255),
    ],
)
def test_other_teachers_are_given_what_they_take(images, arguments, expected):
    teacher = Teacher(torch.nn.Flatten(), **arguments)
    assert teacher.embedding_size == 3 * 112 * 112
    found = teacher(images).view(images.shape)
    torch.testing.assert_close(found, expected(images * 127.5 + 127.5), rtol=0, atol=1e-5)


def test_other_teachers_are_given_the_size_that_they_take():
    ramp = torch.linspace(-1, 1, 112).expand(1, 3, 112, 112)
    teacher = Teacher(torch.nn.Flatten(), std=127.5, size=160)
    found = teacher(ramp).view(1, 3, 160, 160)
    expected = (torch.arange(160) + 0.5) * 112 / 160 - 0.5
    assert (found[0, :, 80, 2:-2] - (expected / 55.5 - 1)[2:-2]).abs().max() < 1e-5


def test_teacher_is_created_from_file_name_or_callable(tmp_path, network, images, own):
    save_teacher(tmp_path / "teacher.safetensors", network, {})
    for source in (tmp_path / "teacher.safetensors", str(tmp_path / "teacher.safetensors")):
        assert torch.equal(create_teacher(source)(images), load_teacher(source)(images))
    torch.manual_seed(0)
    mine = own.Tiny()
    for source in ("own_network:made", "own_network:Tiny", own.Tiny, lambda: mine, mine):
        teacher = create_teacher(source)
        assert teacher.embedding_size == 512
        assert not any(p.requires_grad for p in teacher.parameters())
        assert not any(child.training for child in teacher.modules())
    # as they are in this package, unless the network says otherwise
    assert torch.allclose(create_teacher(mine)(images), mine(images), atol=1e-6)
    assert torch.equal(
        create_teacher(lambda: Teacher(mine))(images), mine(faces.for_teacher(images))
    )


def test_teachers_that_are_none_are_refused_in_words(tmp_path, own):
    for source, words in (
        ("nowhere/teacher.pth", r"cannot read nowhere/teacher\.pth: No such file"),
        ("own_network:nothing", "cannot be imported"),
        ("own_network:number", "expected a torch module"),
        (torch.nn.Identity, r"the teacher Identity gives .* one vector for each was expected"),
        (lambda: torch.nn.Linear(7, 512), "the teacher Linear does not take faces"),
        (lambda: Teacher(own.Tiny(), colour="GRB"), "colour is 'RGB' or 'BGR'"),
    ):
        with pytest.raises(SynthDistillError, match=words):
            create_teacher(source)
