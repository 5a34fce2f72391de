"""The iteration against the recipe, written down once more, literally."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bob.paper.ijcb2023_synthdistill.distillation.networks import create_fabric, create_method
from bob.paper.ijcb2023_synthdistill.distillation.random_numbers import RandomNumbers
from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.recognition.teacher import load_teacher


def method_of(options):
    return create_method(options, create_fabric(options))


def draws_of(options, iteration=0):
    return RandomNumbers(options.seed, "train", iteration, options.batch_size, "cpu")


def weights(method):
    return {k: v.clone() for k, v in method.student.state_dict().items()}


def distance(first, second):
    return max((first[k].double() - second[k].double()).abs().max().item() for k in first)


def literal_crop(image):
    """The published slice of an image of 32 pixels, in [0, 1]."""
    x = (image.clamp(-1, 1) + 1) / 2
    return F.interpolate(x[:, :, 1:30, 1:29], (112, 112), mode="bilinear", align_corners=False)


def test_two_iterations_are_the_recipe_s(tiny_run):
    options = replace(tiny_run, resampling_coefficient=0.7)
    method = method_of(options)
    reference = method_of(options).student.module
    generator, teacher = load_generator(options.generator), load_teacher(options.teacher)
    optimizer = torch.optim.Adam(reference.parameters(), lr=1e-3)
    rows = range(options.batch_size)
    for iteration in range(2):
        results = method.iteration(draws_of(options, iteration), rows)

        draws = draws_of(options, iteration)
        z = draws.normal("z", generator.z_dim, rows)
        w = generator.mapping(z)[:, 0]
        expected = []
        for name in ("fresh", "resampled"):
            with torch.no_grad():
                ws = w[:, None].repeat(1, generator.num_ws, 1)
                image = generator.synthesis(ws, "random", draws.noise(name, rows))
                x = literal_crop(image)
                target = teacher.network((255 * x - 127.5) / 128)
            embedding = reference((x - 0.5) / 0.5)
            loss = ((embedding - target) ** 2).mean()
            similarity = F.cosine_similarity(embedding, target).detach()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            expected.append((loss.item(), similarity))
            c = (similarity + 1) / 2
            w = w + c[:, None] * 0.7 * draws.normal("resample", generator.w_dim, rows)
        for result, (loss, similarity) in zip(results, expected, strict=True):
            assert result.loss.item() == pytest.approx(loss, rel=1e-4)
            assert torch.allclose(result.similarity, similarity, atol=1e-4)
    assert distance(weights(method), dict(reference.state_dict())) < 1e-3


def test_frozen_networks_and_coefficients_get_no_gradient(tiny_run):
    method = method_of(tiny_run)
    before = {k: v.clone() for k, v in method.generator.state_dict().items()}
    before |= {f"t.{k}": v.clone() for k, v in method.teacher.state_dict().items()}
    fresh, resampled = method.iteration(draws_of(tiny_run), range(4))
    after = dict(method.generator.state_dict())
    after |= {f"t.{k}": v for k, v in method.teacher.state_dict().items()}
    assert all(torch.equal(before[k], after[k]) for k in before)
    for parameter in [*method.generator.parameters(), *method.teacher.parameters()]:
        assert parameter.grad is None
        assert not parameter.requires_grad
    for result in (fresh, resampled):
        assert not result.loss.requires_grad
        assert not result.similarity.requires_grad
        assert result.similarity.shape == (4,)


def test_micro_batches_add_up_to_the_batch(tiny_run):
    # a student without batch statistics: with them, the result depends on the micro-batch
    options = replace(tiny_run, student="test_efficientnet_ln", batch_size=6)
    whole, parts = method_of(options), method_of(replace(options, micro_batch_size=4))
    for method in (whole, parts):
        results = [method.iteration(draws_of(options, i), range(6)) for i in range(3)]
    assert results[0][0].similarity.shape == (6,)
    assert distance(weights(whole), weights(parts)) < 1e-4


@pytest.mark.parametrize("sampling", ["static", "none", "z-space", "hard"])
def test_every_strategy_does_an_iteration(tiny_run, sampling):
    method = method_of(replace(tiny_run, sampling=sampling))
    before = weights(method)
    fresh, resampled = method.iteration(draws_of(tiny_run), range(4))
    assert torch.isfinite(fresh.loss)
    assert torch.isfinite(resampled.loss)
    assert distance(before, weights(method)) > 0


def test_how_far_resampling_moves_an_identity_is_told(tiny_run):
    numbers = draws_of(tiny_run)

    def kept(**changes):
        method = method_of(replace(tiny_run, noise_mode="const", **changes))
        return method.identity_kept(numbers, range(4))

    assert kept(resampling_coefficient=0.0).min() > 0.9999
    near, far = kept(resampling_coefficient=0.1), kept(resampling_coefficient=1.0)
    assert 0.9999 > near.mean() > far.mean()
    assert torch.allclose(kept(resampling_coefficient=0.1, micro_batch_size=2), near, atol=1e-5)
    # a generator whose w is half as large: its coefficients are half of ours
    method = method_of(replace(tiny_run, noise_mode="const", resampling_coefficient=0.05))
    method.generator.mapping.register_forward_hook(lambda *args: args[-1] / 2)
    synthesis = method.generator.synthesis
    synthesis.register_forward_pre_hook(lambda _, args: (2 * args[0], *args[1:]))
    assert torch.allclose(method.identity_kept(numbers, range(4)), near, atol=1e-4)
