"""``synthdistill-benchmark`` with networks of a few channels, and its roofline by arithmetic."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from invoking import invoke
from torch._subclasses.fake_tensor import FakeTensorMode

from bob.paper.ijcb2023_synthdistill.distillation import benchmark, roofline
from bob.paper.ijcb2023_synthdistill.distillation.benchmark import PHASES, Timer
from bob.paper.ijcb2023_synthdistill.distillation.options import Options
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.scripts.benchmark import benchmark as command

run = partial(invoke, command)


@pytest.fixture(scope="module")
def report(micro_generator, small_teacher):
    result = run(
        *("--generator", micro_generator, "--teacher", small_teacher),
        *("--student", "test_efficientnet", "--batch-size", 2, "--device", "cpu"),
        *("--iterations", 2, "--compare", "plain", "--json"),
    )
    return json.loads(result.stdout)


def test_phases_make_up_the_iteration(report):
    assert {"variant", "settings", "ms", "losses", "work", "ceilings", "peak_memory_mib"} <= {
        *report
    }
    for variant in (report, report["plain"]):
        assert set(variant["phases_ms"]) == set(PHASES)
        assert all(value > 0 for value in variant["phases_ms"].values())
        assert sum(variant["phases_ms"].values()) < 1.05 * variant["ms"]
        assert variant["peak_memory_mib"] > 50
        assert len(variant["all_ms"]) == 2
    assert report["images"] == 4
    assert report["images_per_second"] == pytest.approx(4e3 / report["ms"])
    assert report["ratio"] == pytest.approx(report["plain"]["ms"] / report["ms"])
    assert report["over_floor"] == pytest.approx(report["ms"] / report["floor_ms"])
    assert report["losses"] == pytest.approx(report["plain"]["losses"], rel=1e-3)
    assert f"{report['ratio']:.2f} times as fast as the plain" in benchmark.format_table(report)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--generator", "none.pkl"], "none.pkl does not exist. Give another by --generator"),
        (["--teacher", "."], "the teacher file . is a folder"),
        (["--precision", "half"], "precision"),
    ],
)
def test_mistakes_are_told_before_anything_is_timed(arguments, words):
    assert words in run(*arguments, code=1).output


@pytest.fixture
def measured(monkeypatch):
    """Count the work of two images, at 1 GFLOP/s, in a process that others share."""
    ones = lambda device, precisions: dict.fromkeys([*precisions, "bytes"], 1e9)  # noqa: E731
    monkeypatch.setattr(roofline, "measure_ceilings", ones)
    monkeypatch.setattr(benchmark, "keep_buffers", lambda: None)
    common = {"batch_size": 2, "device": "cpu", "initialisation": "random"}
    return lambda **options: Timer(Options(**common, **options)).roofline()


@pytest.mark.slow
def test_the_published_networks_have_their_published_counts(measured):
    about = measured(student="tinyfar-a")
    flops = {phase: amount["flops"] / 4 for phase, amount in about["work"].items()}
    # of the whole image's 30.07 GFLOP, what reaches the crop
    assert flops["synthesis"] == pytest.approx(25.3e9, rel=0.02)
    assert flops["teacher"] == pytest.approx(24.18e9, rel=0.01)
    assert flops["student forward"] == pytest.approx(0.254e9, rel=0.01)
    assert flops["backward"] == 2 * flops["student forward"]
    # 7 passes over the parameters, two steps
    assert about["work"]["optimizer"]["bytes"] == 2 * 7 * 4 * 5_562_844
    assert about["floor_phases_ms"]["teacher"] == pytest.approx(4e3 * 24.18, rel=0.01)


def test_work_is_counted_in_the_precision_that_it_is_done_in(
    measured, micro_generator, small_teacher
):
    files = {"generator": micro_generator, "teacher": small_teacher}
    work = measured(student="test_efficientnet", precision="bf16", **files)["work"]
    assert set(work["mapping"]["precisions"]) == {"float32"}
    assert set(work["teacher"]["precisions"]) == {"bfloat16"}
    # convolutions in half precision, styles in float32
    assert set(work["synthesis"]["precisions"]) == {"bfloat16", "float32"}
    halves = work["synthesis"]["precisions"]["bfloat16"]
    assert halves > 0.9 * work["synthesis"]["flops"]
    # on a CPU the student stays in float32
    assert set(work["student forward"]["precisions"]) == {"float32"}


def test_auto_on_cuda_is_float16_in_the_highest_resolutions():
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
        generator = Generator(num_fp16_res=4).eval().requires_grad_(False)
        for module in generator.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to("cuda"))
        with roofline.FlopCounter(lambda: "synthesis") as counter:
            generator.synthesis(torch.randn(1, 14, 512), noise_mode="const")
    flops = counter.flops["synthesis"]
    assert flops.total() == pytest.approx(30.07e9, rel=0.01)
    assert flops["float16"] == pytest.approx(28.1e9, rel=0.01)
    # convolutions below 32x32; the styles are products
    assert flops["tensorfloat32"] == pytest.approx(1.97e9, rel=0.01)
    assert 0 < flops["float32"] < 0.02e9


def test_tf32_is_not_float32(monkeypatch):
    result = SimpleNamespace(dtype=torch.float32, device=torch.device("cuda"))
    aten = torch.ops.aten
    assert roofline.precision_of(aten.convolution, result) == "tensorfloat32"
    assert roofline.precision_of(aten.addmm, result) == "float32"
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(fp32_precision="tf32"))
    assert roofline.precision_of(aten.addmm, result) == "tensorfloat32"
    assert roofline.precision_of(aten.mm, torch.ones(1, dtype=torch.half)) == "float16"


def test_the_roofline_takes_the_slower_of_work_and_traffic(monkeypatch):
    ceilings = {"float32": 2.0, "bfloat16": 6.0, "bytes": 4.0}
    monkeypatch.setattr(roofline, "measure_ceilings", lambda device, precisions: ceilings)
    flops, moved = {"teacher": {"bfloat16": 3, "float32": 1}}, {"teacher": 1.0, "crop": 4.0}
    about = roofline.roofline(torch.device("cpu"), flops, moved)
    assert about["floor_phases_ms"] == {"teacher": 1000.0, "crop": 1000.0}
