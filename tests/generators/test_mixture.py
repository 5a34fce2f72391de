"""Generators that share each batch."""

from dataclasses import replace

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.graph import GraphedIteration
from bob.paper.ijcb2023_synthdistill.distillation.loop import train
from bob.paper.ijcb2023_synthdistill.distillation.networks import create_fabric, create_method
from bob.paper.ijcb2023_synthdistill.distillation.options import find_files
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers, cut
from bob.paper.ijcb2023_synthdistill.distillation.stopping import Stop
from bob.paper.ijcb2023_synthdistill.faces import crop
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, read_record
from bob.paper.ijcb2023_synthdistill.generators.inference import InferenceGenerator
from bob.paper.ijcb2023_synthdistill.generators.mixture import Mixture
from bob.paper.ijcb2023_synthdistill.generators.stylegan2 import Generator
from bob.paper.ijcb2023_synthdistill.toyfaces import GENERATOR


@pytest.fixture
def mixed_run(tiny_run, micro_generator):
    """A run of two generators of 32 px (z 32, w 48) and of 64 px (z 52, w 104)."""
    return replace(tiny_run, generator=[(micro_generator, 1), (GENERATOR, 3)], batch_size=8)


def numbers(iteration=0):
    return RandomNumbers(1, "train", iteration, 8, "cpu")


@pytest.mark.parametrize("shares", [(1, 1), (0.7, 0.3), (5, 1, 1), (0.2, 0.3, 0.1, 0.4)])
def test_a_batch_of_any_size_has_the_shares(shares):
    owners = Mixture([Generator(4, 4, 4)] * len(shares), shares).owners(100)
    for rows in range(1, 101):
        for number, share in enumerate(shares):
            made = owners[:rows].count(number)
            assert abs(made - rows * share / sum(shares)) < 1


def test_each_image_is_that_of_its_generator(mixed_run):
    method = create_method(mixed_run, create_fabric(mixed_run))
    first, second = method.generator.members
    assert isinstance(first, InferenceGenerator)
    assert isinstance(second, InferenceGenerator)
    method.noise_mode = "none"
    rows = range(8)
    owners = method.generator.owners(8)
    assert owners == [1, 0, 1, 1, 1, 0, 1, 1]
    z, noise = numbers().normal("z", 52, rows), numbers().normal("resample", 104, rows)
    w = method.mapping(z, rows)
    moved = method.resample(z, w, torch.ones(8), numbers(), rows)
    for found, step in ((w, 0 * noise), (moved, noise)):
        made = method.faces(found, "fresh", numbers(), rows)
        for row, generator in enumerate([first, second][owner] for owner in owners):
            ws = generator.mapping(z[row : row + 1, : generator.z_dim])
            ws = ws + step[row, : generator.w_dim]
            expected = crop(generator.synthesis(ws, noise_mode="none"))[0]
            assert torch.allclose(made[row], expected, atol=1e-4)


def test_pieces_and_processes_make_the_faces_of_the_whole(mixed_run):
    method = create_method(mixed_run, create_fabric(mixed_run))

    def made(rows):
        w = method.mapping(numbers().normal("z", 52, rows), rows)
        return method.faces(w, "fresh", numbers(), rows)

    whole = made(range(8))
    pieces = [made(rows) for rows in (range(3), range(3, 4), range(4, 8))]
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-4)
    # noise is drawn for each image
    assert (made(range(1))[0] - whole[2]).abs().max() > 0.1


def test_a_graph_copies_nothing_from_the_host(mixed_run, monkeypatch):
    noise = lambda self, name, rows, pixels: cut(self.noise_values(name, pixels, rows))  # noqa: E731
    monkeypatch.setattr(RandomNumbers, "noise", noise)
    options = replace(mixed_run, micro_batch_size=4)
    method = create_method(options, create_fabric(options))
    iteration = GraphedIteration(method)
    iteration.numbers.fill(numbers())
    method.iteration(iteration.numbers, range(8))
    monkeypatch.setattr(torch, "tensor", None)
    kept = set(iteration.numbers.kept)
    method.iteration(iteration.numbers, range(8))
    assert iteration.numbers.kept.keys() == kept


def test_a_run_that_is_stopped_gives_the_same_student(mixed_run, tmp_path):
    class AfterThree(Stop):
        calls = 0

        @property
        def code(self):
            self.calls += 1
            return 99 if self.calls > 3 else None

        @code.setter
        def code(self, value):
            pass

    options = replace(mixed_run, images_per_epoch=24, epochs=1)
    assert train(options, tmp_path / "whole", Stop())
    assert not train(options, tmp_path / "parts", AfterThree())
    assert train(options, tmp_path / "parts", Stop())
    whole, parts = ((tmp_path / n / "student.safetensors").read_bytes() for n in ("whole", "parts"))
    assert whole == parts


def test_files_are_known_by_their_content(mixed_run, micro_generator, tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(micro_generator.read_bytes())
    options = replace(mixed_run, generator=f"{path}=0.25,{GENERATOR}=0.75", epochs=1)
    train(options, tmp_path / "run", Stop())
    record = read_record(tmp_path / "run" / "options.json")
    assert [f"generator {n}" in record["files"] for n in (1, 2, 3)] == [True, True, False]
    hashes = [record["files"][f"generator {n}"]["sha256"] for n in (1, 2)]
    assert record["options"]["generator"] == [[hashes[0], 0.25], [hashes[1], 0.75]]
    path.write_bytes(GENERATOR.read_bytes())
    with pytest.raises(SynthDistillError, match="generator was"):
        train(options, tmp_path / "run", Stop())


@pytest.mark.parametrize(
    ("generator", "words"),
    [
        ([], "option generator: expected"),
        ([(GENERATOR, 0)], "a share above 0"),
        (f"{GENERATOR}=1,{GENERATOR}=-1", "a share above 0"),
        ([GENERATOR, "nowhere.pkl"], "nowhere.pkl does not exist"),
        ([(GENERATOR, 1), (GENERATOR, 0.01)], "generator 2 of 2 makes none"),
    ],
)
def test_what_cannot_be_mixed_is_told(tiny_run, generator, words):
    def create():
        options = find_files(replace(tiny_run, generator=generator))
        create_method(options, create_fabric(options))

    with pytest.raises(SynthDistillError, match=words):
        create()
