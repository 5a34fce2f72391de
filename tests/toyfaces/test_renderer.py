"""Faces are drawn as their names say, and stand where they are looked for."""

import numpy
import pytest
import torch

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.toyfaces.conditions import (
    CONDITION_NAMES,
    IDENTITY_NAMES,
    KINDS,
    sample_conditions,
    sample_identities,
)
from bob.paper.ijcb2023_synthdistill.toyfaces.renderer import render


@pytest.fixture
def rng():
    return numpy.random.default_rng(7)


def set_columns(conditions, **values):
    for name, value in values.items():
        conditions[:, CONDITION_NAMES.index(name)] = value
    return conditions


def studio(count, rng):
    """Plain portraits: straight, no glasses, no noise, eyes open wide."""
    plain = sample_conditions(count, rng, "generator")
    return set_columns(plain, yaw=0, pitch=0, gaze=0, age=30, eyes_open=1.1, light_azimuth=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders(rng, kind):
    images = render(sample_identities(4, rng), sample_conditions(4, rng, kind))
    assert images.shape == (4, 3, 112, 112)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1.0
    assert images.flatten(1).std(dim=1).min() > 0.05


@pytest.mark.parametrize("framing", ["aligned", "ffhq", "unaligned"])
def test_same_pixels_whatever_the_batch(rng, framing):
    identities, conditions = sample_identities(11, rng), sample_conditions(11, rng)
    together = faces.to_uint8(render(identities, conditions, 96, framing))
    for i in range(11):
        alone = faces.to_uint8(render(identities[i : i + 1], conditions[i : i + 1], 96, framing))
        assert torch.equal(alone[0], together[i])


def test_pupils_stand_on_the_template(rng):
    # black irises: pupil and iris together are the dark disc
    identities = sample_identities(6, rng)
    identities[:, IDENTITY_NAMES.index("eye_colour")] = -3.0
    identities[:, IDENTITY_NAMES.index("skin_tone")] = -2.0
    places = torch.stack(torch.meshgrid(*2 * [torch.arange(112) + 0.5], indexing="ij"))
    for image in render(identities, set_columns(studio(6, rng), exposure=1.0)):
        for eye in (faces.LEFT_EYE, faces.RIGHT_EYE):
            near = (places - torch.tensor(eye).view(2, 1, 1)).abs().amax(dim=0) < 4
            dark = near & (image.mean(dim=0) < -0.75)
            assert places[:, dark].mean(dim=1).tolist() == pytest.approx(eye, abs=1.0)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_crop_of_ffhq_framing_is_the_aligned_face(rng, size):
    identities, conditions = sample_identities(8, rng), sample_conditions(8, rng, "generator")
    aligned = render(identities, conditions)
    cropped = faces.crop(render(identities, conditions, size, "ffhq"))
    # the same face, up to the resolution: far nearer than to itself two pixels away
    error = (cropped - aligned).abs().mean()
    assert error < 0.05
    assert (cropped - aligned.roll(2, dims=3)).abs().mean() > 1.3 * error


def test_every_name_changes_the_picture(rng):
    """A column that changes nothing is a name without a meaning."""
    identity, condition = sample_identities(1, rng) * 0.3, studio(1, rng)
    set_columns(condition, age=50, mouth_open=0.3, noise=0.02, quality=90, blur=0.5, hat=0)
    identity[:, IDENTITY_NAMES.index("beard")] = 1.5
    identity[:, IDENTITY_NAMES.index("mole_size")] = 1.5
    base = render(identity, condition, 160, "unaligned")
    for i, name in enumerate(IDENTITY_NAMES):
        other = identity.clone()
        other[:, i] += 0.7
        assert (render(other, condition, 160, "unaligned") - base).abs().max() > 0.05, name
    # what glasses and occluders look like shows only if they are there
    set_columns(condition, glasses=1, glasses_tint=0.2, occluder=1, occluder_x=-1, occluder_y=0.9)
    base = render(identity, condition, 160, "unaligned")
    scale = {"glasses": -1.0, "occluder": -1.0, "quality": -60.0, "photo_scale": 0.05}
    for i, name in enumerate(CONDITION_NAMES):
        other = condition.clone()
        other[:, i] += scale.get(name, 0.3 if float(condition[0, i].abs()) < 3 else 10.0)
        assert (render(identity, other, 160, "unaligned") - base).abs().max() > 0.02, name
