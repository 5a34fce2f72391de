import copy
import io
import logging
import tarfile

import pytest
import safetensors
import torch

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.recognition import teacher as module
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import LAYERS, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher, save_teacher

BOB = "iresnet100-73e07ba7.pth"


@pytest.fixture
def network():
    """Make a small network with the statistics of some images in its norms, as if trained."""
    torch.manual_seed(0)
    network = IResNet((1, 2, 1, 1), (4, 6, 8, 10), embedding_size=16, eps=2e-5)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the average instead of a slow approach
    with torch.no_grad():
        network(0.01 * torch.rand(8, 3, 112, 112))  # small variances, so that eps matters
    for norm in norms:
        norm.num_batches_tracked.zero_()
    return network.eval().requires_grad_(False)


@pytest.fixture
def images():
    return torch.rand(3, 3, 112, 112, generator=torch.manual_seed(1)) * 2 - 1


def counted(network, count):
    state = network.state_dict()
    return {k: v + count if k.endswith("num_batches_tracked") else v for k, v in state.items()}


def uncounted(state):
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def eps_of(teacher):
    norms = [m for m in teacher.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    (eps,) = {norm.eps for norm in norms}
    return eps


@pytest.mark.parametrize(
    "wrap", ["plain", "module", "uncounted", "state_dict", "arcface", "legacy"]
)
def test_loads_the_state_dicts_that_circulate(tmp_path, network, images, wrap):
    state = network.state_dict()
    content = {
        "plain": state,
        "legacy": state,
        "module": {f"module.{k}": v for k, v in state.items()},
        "uncounted": uncounted(state),
        "state_dict": {"state_dict": state, "epoch": 3},
        "arcface": {"state_dict_backbone": state, "global_step": 5},
    }[wrap]
    path = tmp_path / BOB
    torch.save(content, path, _use_new_zipfile_serialization=wrap != "legacy")
    teacher = load_teacher(path)
    assert teacher.embedding_size == 16
    with torch.no_grad():
        expected = network(faces.for_teacher(images))
    torch.testing.assert_close(teacher(images), expected, rtol=0, atol=0)
    assert teacher(images).dtype == torch.float32


def test_converts_half_precision_to_float32(tmp_path, network, images):
    half = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    torch.save(half, tmp_path / BOB)
    teacher = load_teacher(tmp_path / BOB)
    assert {p.dtype for p in teacher.parameters()} == {torch.float32}
    similarity = torch.cosine_similarity(teacher(images), network(faces.for_teacher(images)))
    assert similarity.min() > 0.99


def test_is_frozen_and_train_leaves_it_so(tmp_path, network, images):
    torch.save(network.state_dict(), tmp_path / BOB)
    teacher = load_teacher(tmp_path / BOB)
    parent = torch.nn.ModuleList([teacher]).train()
    assert not any(child.training for child in teacher.modules())
    assert parent.training
    before = copy.deepcopy(teacher.state_dict())
    assert not teacher(images).requires_grad
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not any(p.requires_grad for p in teacher.parameters())


def test_own_safetensors_keep_everything(tmp_path, network, images):
    network.eps = 3e-4
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, network, {"trained_on": "toyfaces", "steps": 7})
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["trained_on"] == "toyfaces"
    assert metadata["steps"] == "7"
    assert metadata["layers"] == "[1, 2, 1, 1]"
    assert metadata["widths"] == "[4, 6, 8, 10]"
    assert metadata["input"].endswith("(pixel - 127.5) / 128")
    teacher = load_teacher(path)
    assert eps_of(teacher) == 3e-4
    assert eps_of(load_teacher(path, eps=1e-5)) == 1e-5
    assert load_teacher(path).embedding_size == 16


@pytest.mark.parametrize(
    ("name", "count", "eps"),
    [
        (BOB, 0, 2e-5),
        (BOB, None, 2e-5),
        (BOB, 1000, 2e-5),
        ("iresnet50-7f187506.pth", 1000, 2e-5),
        ("backbone.pth", 1000, 1e-5),
        ("renamed.pth", 0, 2e-5),
        ("iresnet100.pth", 1000, 1e-5),
    ],
)
def test_eps_follows_from_where_the_file_comes_from(tmp_path, network, caplog, name, count, eps):
    state = uncounted(network.state_dict()) if count is None else counted(network, count)
    torch.save(state, tmp_path / name)
    with caplog.at_level(logging.WARNING):
        assert eps_of(load_teacher(tmp_path / name)) == eps
    assert eps_of(load_teacher(tmp_path / name, eps=5e-5)) == 5e-5
    assert not caplog.records


def test_guessed_eps_is_said(tmp_path, network, caplog):
    torch.save(uncounted(network.state_dict()), tmp_path / "some.pth")
    with caplog.at_level(logging.WARNING):
        assert eps_of(load_teacher(tmp_path / "some.pth")) == 2e-5
    assert "give eps to load_teacher" in caplog.text


def test_eps_changes_the_embedding(tmp_path, network, images):
    torch.save(network.state_dict(), tmp_path / BOB)
    by_bob, by_insightface = (load_teacher(tmp_path / BOB, eps=e)(images) for e in (2e-5, 1e-5))
    assert (by_bob - by_insightface).abs().max() > 1e-4


@pytest.mark.parametrize("name", LAYERS)
def test_architecture_is_read_from_names_and_shapes(tmp_path, name):
    with torch.device("meta"):
        state = IResNet(LAYERS[name]).state_dict()
    network = module._build(state, tmp_path, 1e-5)
    assert network.layers == LAYERS[name]
    assert network.widths == (64, 128, 256, 512)
    assert network.embedding_size == 512


def archive(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def test_reads_bobs_archive_itself(tmp_path, network, images):
    path = tmp_path / "iresnet-91a5de61.tar.gz"
    members = {"./iresnet.py": b"raise SystemExit(9)", "./iresnet34-5b0d0e90.pth": b"other"}
    archive(path, {**members, f"./{BOB}": saved(network.state_dict())})
    teacher = load_teacher(path)
    assert eps_of(teacher) == 2e-5
    torch.testing.assert_close(teacher(images), network(faces.for_teacher(images)))
    assert sorted(tmp_path.iterdir()) == [path]

    content = path.read_bytes()
    for size in (3, 100, len(content) // 2):
        path.write_bytes(content[:size])
        with pytest.raises(
            SynthDistillError, match=r"not copied whole.*synthdistill-fetch teacher"
        ):
            load_teacher(path)


def test_archive_without_the_teacher_is_said(tmp_path, monkeypatch):
    path = tmp_path / "iresnet-91a5de61.tar.gz"
    archive(path, {"iresnet34-5b0d0e90.pth": b"other"})
    with pytest.raises(SynthDistillError, match=rf"expected {BOB}.*iresnet34-5b0d0e90"):
        load_teacher(path)
    archive(path, {BOB: b"0" * 100})
    monkeypatch.setattr(module, "MAX_MEMBER", 99)
    with pytest.raises(SynthDistillError, match="100 bytes: too many"):
        load_teacher(path)


def test_missing_and_extra_names_are_listed(tmp_path, network):
    state = network.state_dict()
    del state["layer2.1.prelu.weight"]
    state["head.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / BOB)
    with pytest.raises(SynthDistillError) as caught:
        load_teacher(tmp_path / BOB)
    assert "1 missing: layer2.1.prelu.weight" in caught.value.message
    assert "1 too many: head.weight" in caught.value.message
    assert BOB in caught.value.message


def test_other_input_size_is_said(tmp_path, network):
    state = network.state_dict()
    state["fc.weight"] = torch.zeros(16, 10 * 8 * 8)
    torch.save(state, tmp_path / BOB)
    with pytest.raises(SynthDistillError, match=r"fc\.weight \[16, 640\] instead of \[16, 490\]"):
        load_teacher(tmp_path / BOB)


def test_claims_of_size_allocate_nothing(tmp_path, network):
    state = network.state_dict()
    state["layer3.0.conv1.weight"] = torch.zeros(1).expand(10**7, 10**7, 3, 3)
    with pytest.raises(SynthDistillError, match="of another shape"):
        module.load_weights(module._build(state, tmp_path, 1e-5), state, tmp_path)


def test_other_network_is_said(tmp_path):
    torch.save({"blocks.0.weight": torch.zeros(2)}, tmp_path / "x.pth")
    with pytest.raises(SynthDistillError, match=r"expected an IResNet.*blocks\.0\.weight"):
        load_teacher(tmp_path / "x.pth")


def test_own_format_of_another_kind_or_version_is_said(tmp_path, network, monkeypatch):
    path = tmp_path / "teacher.safetensors"
    monkeypatch.setattr(module, "FORMAT_VERSION", 2)
    save_teacher(path, network, {})
    monkeypatch.undo()
    with pytest.raises(SynthDistillError, match=r"version 2 .*reads version 1"):
        load_teacher(path)
    monkeypatch.setattr(module, "FORMAT", "synthdistill-student")
    save_teacher(path, network, {})
    monkeypatch.undo()
    with pytest.raises(SynthDistillError, match="names the format 'synthdistill-student'"):
        load_teacher(path)


def test_training_that_diverged_is_said(tmp_path, network):
    state = network.state_dict()
    state["fc.bias"][3] = float("nan")
    torch.save(state, tmp_path / BOB)
    with pytest.raises(SynthDistillError, match=r"not finite, in fc\.bias"):
        load_teacher(tmp_path / BOB)
