"""The counts behind the floor, against those of the facts and of arithmetic."""

import time

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation import floor
from bob.paper.ijcb2023_synthdistill.distillation.floor import (
    count_synthesis,
    count_work,
    floor_ms,
    measure_ceilings,
)
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.recognition.iresnet import LAYERS, IResNet
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student
from bob.paper.ijcb2023_synthdistill.recognition.teacher import Teacher


def test_the_published_networks_have_their_published_counts():
    with torch.device("meta"):
        generator = Generator()
        teacher = Teacher(IResNet(LAYERS["iresnet100"]))
    student = create_student("tinyfar-a", initialisation="random")
    work = count_work(generator, teacher, student, batch=4)
    images = 8
    # of the whole image's 30.07 GFLOP, what reaches the crop
    assert work["synthesis"]["flops"] / images == pytest.approx(25.3e9, rel=0.01)
    assert work["teacher"]["flops"] / images == pytest.approx(24.18e9, rel=0.01)
    assert work["student forward"]["flops"] / images == pytest.approx(0.254e9, rel=0.01)
    assert work["backward"]["flops"] == 2 * work["student forward"]["flops"]
    # 7 passes over the parameters, two steps
    assert work["optimizer"]["bytes"] == 2 * 7 * 4 * 5_562_844
    assert count_work(generator, teacher, student, 4, half=True)["teacher"]["bytes"] * 2 == (
        pytest.approx(work["teacher"]["bytes"])
    )


def test_a_layer_is_counted_by_hand():
    layers = {layer["name"]: layer for layer in count_synthesis(Generator(8, 8, 256, 512, 16, 1))}
    # the crop's 213x213, of 2 channels; one more around it before that, from 110x110
    assert layers["b256.conv1"]["flops"] == 2 * 9 * 213**2 * 2 * 2
    assert layers["b256.torgb"]["flops"] == 2 * 213**2 * 2 * 3
    assert layers["b256.conv0"]["flops"] == 2 * 9 * 110**2 * 4 * 2 + 2 * 2 * 4 * 2 * 215**2
    # below 64x64 everything is needed
    assert layers["b32.conv1"]["flops"] == 2 * 9 * 32**2 * 16 * 16


def test_the_floor_takes_the_slower_of_work_and_traffic():
    work = {"teacher": {"flops": 6.0, "bytes": 1.0}, "crop": {"flops": 0.0, "bytes": 4.0}}
    ceilings = {"float32": 2.0, "bfloat16": 6.0, "bytes": 4.0}
    assert floor_ms(work, ceilings) == {"teacher": 3000.0, "crop": 1000.0}
    assert floor_ms(work, ceilings, half=True) == {"teacher": 1000.0, "crop": 1000.0}


@pytest.mark.slow
def test_ceilings_are_measured():
    ceilings = measure_ceilings(torch.device("cpu"), repeats=1)
    assert set(ceilings) == {"float32", "bfloat16", "bytes"}
    assert all(value > 1e8 for value in ceilings.values())


def test_a_machine_without_bfloat16_is_measured_in_seconds(monkeypatch):
    """Such a processor takes 42 s for the large product: only what it does soon is measured."""
    done = []

    def prepare(size):
        done.append(size)
        return size**3, lambda: time.sleep(size**3 / 1e8)

    monkeypatch.setattr(floor, "PATIENCE", 0.2)
    started = time.monotonic()
    rate = floor._best_rate(prepare, (100, 200, 1000), torch.device("cpu"), repeats=100)
    assert rate == pytest.approx(1e8, rel=0.2)
    # the last one is prepared, and not done: it would take 10 s
    assert done == [100, 200, 1000]
    assert time.monotonic() - started < 2
