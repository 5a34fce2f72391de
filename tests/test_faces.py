"""The image conventions, each against numbers from the recipe."""

import pytest
import torch

from bob.paper.ijcb2023_synthdistill import faces


@pytest.mark.parametrize(
    ("resolution", "rows", "columns"),
    [
        # each corner truncated, as the published code does
        (32, (1, 30), (1, 29)),
        (64, (5, 59), (4, 58)),
        (128, (10, 118), (10, 118)),
        (256, (21, 234), (22, 235)),
        (512, (42, 471), (43, 472)),
        (1024, (84, 942), (86, 944)),
    ],
)
def test_the_crop_box_is_the_published_slice(resolution, rows, columns):
    assert faces.crop_box(resolution) == (slice(*rows), slice(*columns))


def test_crop_is_the_slice_then_bilinear():
    images = torch.randn(2, 3, 256, 256)
    expected = torch.nn.functional.interpolate(
        ((images.clamp(-1, 1) + 1) / 2)[:, :, 21:234, 22:235],
        size=(112, 112),
        mode="bilinear",
        align_corners=False,
    )
    assert torch.allclose(faces.crop(images), expected * 2 - 1, atol=1e-6)


def test_teacher_inputs_are_the_recipe_s():
    x = torch.rand(2, 3, 112, 112)
    assert torch.allclose(faces.for_teacher(2 * x - 1), (255 * x - 127.5) / 128, atol=1e-6)


def test_uint8_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[None, :, :, None]
    assert torch.equal(faces.to_uint8(faces.from_uint8(pixels)), pixels)
    assert torch.equal(faces.from_uint8(pixels), faces.from_uint8(pixels.double()).float())
