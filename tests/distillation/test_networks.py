"""A training by the inference forms against the same training by the plain networks."""

import platform
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bob.paper.ijcb2023_synthdistill.distillation.loop import Run
from bob.paper.ijcb2023_synthdistill.distillation.networks import (
    assemble,
    create_fabric,
    create_method,
    create_optimizer,
    create_student,
    freeze,
)
from bob.paper.ijcb2023_synthdistill.distillation.processes import Exchange
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder
from bob.paper.ijcb2023_synthdistill.distillation.step import StepResult
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.generators.inference import for_inference
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.teacher import Teacher, load_teacher


def train(options, iterations):
    """Give the losses and cosines of some iterations, and the student after them."""
    method = create_method(options, create_fabric(options))
    method.student.train()
    losses, similarities = [], []
    for iteration in range(iterations):
        draws = RandomNumbers(options.seed, "train", iteration, options.batch_size, "cpu")
        draws.seed_global(0)
        for result in method.iteration(draws, range(options.batch_size)):
            losses.append(result.loss)
            similarities.append(result.similarity)
    weights = {k: v.double() for k, v in method.student.state_dict().items()}
    return torch.stack(losses), torch.cat(similarities), weights


def distance(first, second):
    """Give the relative distance of two students: the norm of all differences over the norm."""
    difference = sum((first[k] - second[k]).square().sum() for k in first)
    return (difference / sum(v.square().sum() for v in second.values())).sqrt().item()


def test_an_optimizer_has_a_name_and_a_learning_rate(tiny_run):
    def created(**changed):
        options = replace(tiny_run, **changed)
        optimizer, _ = create_optimizer(options, nn.Linear(2, 2).parameters())
        return type(optimizer), optimizer.defaults["lr"]

    assert created() == (torch.optim.Adam, 1e-3)
    assert created(learning_rate=0.1) == (torch.optim.Adam, 0.1)
    assert created(optimizer="SGD") == (torch.optim.SGD, 1e-3)
    own = partial(torch.optim.SGD, lr=0.5)
    assert created(optimizer=own) == (torch.optim.SGD, 0.5)
    assert created(optimizer=own, learning_rate=0.1) == (torch.optim.SGD, 0.1)


def test_twenty_steps_give_the_plain_student(tiny_run):
    # without batch norms: in a network of random weights and a batch of four they multiply rounding
    options = replace(tiny_run, student="test_efficientnet_ln")
    losses, similarities, student = train(options, 10)
    plain = train(replace(options, plain=True), 10)
    assert torch.allclose(losses, plain[0], rtol=1e-4, atol=0)
    assert torch.allclose(similarities, plain[1], rtol=0, atol=1e-4)
    assert losses[-1] < losses[0]
    assert distance(student, plain[2]) < 1e-4


def test_bfloat16_follows_float32(tiny_run):
    options = replace(tiny_run, student="test_efficientnet_ln")
    losses, _, student = train(replace(options, precision="bf16"), 5)
    full = train(options, 5)
    assert torch.allclose(losses, full[0], rtol=0.05, atol=0)
    assert 1e-7 < distance(student, full[2]) < 0.05


def test_faces_and_embeddings_are_the_plain_ones(tiny_run):
    rows = range(tiny_run.batch_size)
    found = []
    for plain in (False, True):
        options = replace(tiny_run, plain=plain)
        method = create_method(options, create_fabric(options))
        assert isinstance(method.generator, Generator) is plain
        assert isinstance(method.teacher, Teacher) is plain
        draws = RandomNumbers(1, "test", 0, tiny_run.batch_size, "cpu")
        w = method.mapping(draws.normal("z", method.generator.z_dim, rows), rows)
        made = method.faces(w, "fresh", draws, rows)
        found.append((w, made, method.teacher(made)))
    for fast, plain in zip(*found, strict=True):
        assert (fast - plain).abs().max() < 1e-4 * plain.std()


def test_a_teacher_of_the_users_own_is_used_as_it_is(tiny_run):
    class Mean(nn.Module):
        embedding_size = 512

        def forward(self, x):
            return x.mean(dim=(1, 2, 3))[:, None].expand(-1, 512)

    fabric = create_fabric(tiny_run)
    networks = load_generator(tiny_run.generator), Mean(), create_student(tiny_run)
    method = assemble(tiny_run, fabric, *networks)
    assert type(method.teacher) is Mean
    draws = RandomNumbers(1, "train", 0, 4, "cpu")
    fresh, _ = method.iteration(draws, range(4))
    assert torch.isfinite(fresh.loss)
    with pytest.raises(SynthDistillError, match=r"Mean .*--precision 32"):
        assemble(replace(tiny_run, precision="bf16"), fabric, *networks)


def test_a_network_that_knows_its_precision_is_told(tiny_run):
    class Mine(nn.Module):
        def set_precision(self, dtype):
            self.dtype = dtype

    options = replace(tiny_run, precision="bf16")
    assert [network.dtype for network in freeze(Mine(), Mine(), options)] == [torch.bfloat16] * 2


def test_plain_networks_compute_in_the_precision_that_is_asked_for(tiny_run):
    generator, teacher = load_generator(tiny_run.generator), load_teacher(tiny_run.teacher)
    faces = torch.randn(2, 3, 112, 112).clamp(-1, 1)
    before = teacher(faces)
    freeze(generator, teacher, replace(tiny_run, plain=True, precision="bf16"))
    after = teacher(faces)
    assert after.dtype == torch.float32
    assert 1e-7 < 1 - torch.cosine_similarity(before, after).min() < 1e-2


def test_the_layers_of_the_synthesis_are_one_graph_for_a_compiler(tiny_run):
    generator = load_generator(tiny_run.generator)
    for dtype in (torch.float32, torch.bfloat16):
        synthesis = for_inference(generator, dtype).synthesis
        ws = torch.randn(3, 1, generator.w_dim).expand(-1, generator.num_ws, -1)
        expected = synthesis(ws, "const")
        synthesis.compile(backend="eager", fullgraph=True)
        assert torch.equal(synthesis(ws, "const"), expected)


def test_the_student_computes_in_bfloat16_under_autocast(tiny_run):
    options = replace(tiny_run, student="test_efficientnet_ln", precision="bf16")
    losses, _, student = train(replace(options, autocast=True), 5)
    without = train(options, 5)
    assert torch.allclose(losses, without[0], rtol=0.05, atol=0)
    assert 1e-6 < distance(student, without[2]) < 0.05
    with pytest.raises(SynthDistillError, match="since autocast is asked for"):
        replace(options, precision="32", autocast=True)


def test_updates_that_the_loss_scaler_skips_do_not_end_a_run(tiny_run, tmp_path):
    method = create_method(tiny_run, fabric := create_fabric(tiny_run))
    run = Run(tiny_run, RunFolder(tmp_path), fabric, method)
    run.exchange = Exchange(fabric, 0)
    run.sound = 0
    run.scaler = SimpleNamespace(get_scale=lambda: 4.0)
    for loss in (2.0, float("inf"), 4.0):
        run.add(*[StepResult(torch.tensor(loss), torch.ones(4))] * 2)
        run.agree(False, Stop())
    assert run.sums.tolist() == [8.0, 8.0, 3.0, 3.0]
    run.scaler = SimpleNamespace(get_scale=lambda: 0.5)
    with pytest.raises(SynthDistillError, match="not finite"):
        run.agree(False, Stop())


def test_compiling_without_a_compiler_is_refused_in_words(tiny_run, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    options = replace(tiny_run, compile=True)
    with pytest.raises(SynthDistillError, match=r"/nowhere/c\+\+ was not found.*--no-compile"):
        create_method(options, create_fabric(options))


@pytest.mark.parametrize(
    ("precision", "capability", "slow"),
    [("bf16", "AVX2", 1), ("bf16", "AVX512", 0), ("16", "AVX512", 1), ("32", "AVX2", 0)],
)
def test_a_precision_that_is_slow_here_is_told(
    tiny_run, monkeypatch, caplog, precision, capability, slow
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    create_fabric(replace(tiny_run, precision=precision, device="cpu"))
    assert caplog.text.count("--precision 32 is the fast one") == slow


def test_faces_that_the_crop_would_miss_are_refused(tiny_run, tmp_path):
    path = tmp_path / "stylegan2-ffhqu-256x256.pkl"
    path.write_bytes(tiny_run.generator.read_bytes())
    options = replace(tiny_run, generator=path)
    with pytest.raises(SynthDistillError, match=r"are not aligned.*synthdistill-fetch generator"):
        create_method(options, create_fabric(options))
