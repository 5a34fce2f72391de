"""The training on CUDA: every tensor's device under fake tensors; on a real one, where there is."""

import contextlib
import csv
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.networks import (
    assemble,
    configure_cuda,
    create_fabric,
    create_optimizer,
    create_student,
)
from bob.paper.ijcb2023_synthdistill.distillation.options import Options
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import LAYERS, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.teacher import Teacher

BATCH = 128


def rows(folder):
    with (folder / "log.csv").open() as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


class Count(TorchDispatchMode):
    """Counts what reaches the device: copies from the host, and other work."""

    def __init__(self):
        super().__init__()
        self.copies, self.launches = Counter(), Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = [t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        made = [t.device.type for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        name = str(function)
        if "cpu" in given and "cuda" in made:
            self.copies[name] += 1
        elif "cuda" in made and not (function.is_view or "empty" in name):
            self.launches[name] += 1
        assert not ("cuda" in given and "cpu" in made), f"{name} waits for the device"
        return result


class Fabric:
    """Stands for Lightning's on a device that is not there."""

    device = torch.device("cuda")
    no_backward_sync = staticmethod(lambda module, enabled: contextlib.nullcontext())

    def __init__(self, student):
        self.student = student

    def backward(self, loss):
        # autograd's engine asks for the real device
        assert loss.device.type == "cuda"
        assert loss.dtype == torch.float32
        for parameter in self.student.parameters():
            parameter.grad = torch.empty_like(parameter)


@pytest.mark.parametrize(
    ("precision", "plain", "launches"),
    # without the backward pass; 128 images take as many as one
    [("auto", True, 6000), ("32", False, 1830), ("bf16", False, 2140), ("16", False, 2000)],
)
def test_an_iteration_is_on_the_device_and_waits_for_nothing(
    monkeypatch, precision, plain, launches
):
    values = {"precision": precision, "plain": plain, "device": "cpu"}
    options = Options(student="tinyfar-a", initialisation="random", **values)
    with torch.random.fork_rng():
        # of the published depth
        generator = Generator(channel_base=1024, channel_max=8, num_fp16_res=4)
        teacher = Teacher(IResNet(LAYERS["iresnet100"], widths=(4, 4, 4, 4)))
        networks = generator, teacher, create_student(options)
        method = assemble(options, create_fabric(options), *networks)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch, "Generator", lambda device: torch.default_generator)
    with FakeTensorMode(allow_non_fake_inputs=True):
        method.generator.to("cuda")
        method.teacher.to("cuda")
        method.student = method.student.module.to("cuda")
        method.optimizer, _ = create_optimizer(options, method.student.parameters())
        method.fabric = Fabric(method.student)
        for iteration in range(2):
            with Count() as count:
                numbers = RandomNumbers(1, "train", iteration, BATCH, "cuda")
                results = method.iteration(numbers, range(BATCH))
    for result in results:
        assert (result.loss.device.type, result.loss.dtype) == ("cuda", torch.float32)
        assert (result.similarity.device.type, len(result.similarity)) == ("cuda", BATCH)
    # z, and where it is re-sampled
    assert count.copies.total() == 2
    assert 0.9 * launches < count.launches.total() <= launches


def test_settings_of_cuda(tiny_run):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision
    try:
        configure_cuda(tiny_run)
        assert cudnn.benchmark
        assert (cudnn.conv.fp32_precision, matmul.fp32_precision) == before[1:]
        configure_cuda(replace(tiny_run, tf32="on", deterministic=True))
        assert not cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled()
        assert (cudnn.conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")
    finally:
        torch.use_deterministic_algorithms(False)
        cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision = before


gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


class TestOnADevice:
    """What only a device can show."""

    pytestmark = gpu

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"precision": "bf16"},
            {"precision": "bf16", "autocast": True},
            {"precision": "16", "autocast": True},
            {"graph": True},
            {"compile": True},
        ],
        ids=str,
    )
    def test_a_training_follows_the_cpu_s(self, tiny_run, tmp_path, changes):
        options = replace(
            tiny_run, student="test_efficientnet_ln", noise_mode="const", images_per_epoch=24
        )
        train(options, tmp_path / "cpu", Stop())
        train(replace(options, device="cuda", **changes), tmp_path / "cuda", Stop())
        expected, found = (rows(tmp_path / name) for name in ("cpu", "cuda"))
        for first, second in zip(expected, found, strict=True):
            for name in ("loss_fresh", "loss_resampled", "validation_mse"):
                assert second[name] == pytest.approx(first[name], rel=0.05)

    @pytest.mark.parametrize("graph", [False, True])
    def test_a_run_resumes(self, tiny_run, tmp_path, graph):
        options = replace(
            tiny_run, device="cuda", deterministic=True, graph=graph, images_per_epoch=32
        )
        train(options, tmp_path / "whole", Stop())
        stop = Stop()
        stop.code = 99
        assert not train(options, tmp_path / "parts", stop)
        assert train(options, tmp_path / "parts", Stop())
        whole, parts = (rows(tmp_path / name) for name in ("whole", "parts"))
        assert parts[-1]["loss_fresh"] == pytest.approx(whole[-1]["loss_fresh"], rel=1e-3)

    def test_two_processes_on_one_device_learn_what_one_does(
        self, in_processes, tiny_plan, tmp_path
    ):
        options = {**tiny_plan, "student": "Tiny without batch norm", "device": "cuda"}
        one, two = str(tmp_path / "one"), str(tmp_path / "two")
        in_processes(
            {"do": "train", "ranks": 1, "folder": one, "options": options},
            {"do": "train", "ranks": 2, "nodes": 2, "folder": two, "options": options},
        )
        first, second = (rows(tmp_path / name)[-1] for name in ("one", "two"))
        assert second["loss_fresh"] == pytest.approx(first["loss_fresh"], rel=1e-2)

    def test_embeddings_are_the_cpu_s(self):
        student = create_student(Options(student="test_efficientnet", initialisation="random"))
        faces = torch.rand(4, 3, 112, 112) * 2 - 1
        with torch.inference_mode():
            expected = student.eval()(faces)
            found = student.cuda()(faces.cuda()).cpu()
        assert torch.cosine_similarity(found, expected).min() > 0.999
