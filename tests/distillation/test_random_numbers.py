"""Random numbers depend on (seed, stream, iteration, image) and on nothing else."""

import torch

from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers


def test_rows_are_slices_of_the_whole_batch():
    draws = RandomNumbers(1, "train", 3, 40, "cpu")
    whole = draws.normal("z", 8, range(40))
    parts = torch.cat([draws.normal("z", 8, range(k, k + 10)) for k in range(0, 40, 10)])
    assert torch.equal(whole, parts)


def test_noise_does_not_depend_on_how_the_batch_is_divided():
    draws = RandomNumbers(1, "train", 3, 40, "cpu")
    source = draws.noise("fresh", range(40))
    whole = [source(40, size) for size in (4, 8, 8)]
    for width in (1, 7, 20, 33):
        pieces = []
        for start in range(0, 40, width):
            rows = range(start, min(start + width, 40))
            source = draws.noise("fresh", rows)
            pieces.append([source(len(rows), size) for size in (4, 8, 8)])
        for layer in range(3):
            assert torch.equal(whole[layer], torch.cat([piece[layer] for piece in pieces]))
    assert not torch.equal(whole[1], whole[2])


def test_every_part_of_the_key_matters():
    def numbers(seed=1, stream="train", iteration=3, name="z"):
        draws = RandomNumbers(seed, stream, iteration, 4, "cpu")
        return draws.normal(name, 8, range(4)), draws.noise(name, range(4))(4, 8)

    first = numbers()
    again = numbers()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for change in ({"seed": 2}, {"stream": "x"}, {"iteration": 4}, {"name": "w"}):
        other = numbers(**change)
        assert not torch.equal(first[0], other[0])
        assert not torch.equal(first[1], other[1])


def test_latents_and_noise_are_standard_normal():
    draws = RandomNumbers(1, "train", 0, 64, "cpu")
    for values in (draws.normal("z", 512, range(64)), draws.noise("n", range(64))(64, 32)):
        assert abs(values.mean().item()) < 0.02
        assert abs(values.std().item() - 1) < 0.02
