import numpy as np
import pytest

from bob.paper.ijcb2023_synthdistill import faces
from bob.paper.ijcb2023_synthdistill.evaluation.alignment import align
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def photograph(eyes, size=(250, 300), radius=4):
    """A photograph [3, H, W]: a red disc on the eye left in the image, a blue one on the other."""
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.zeros((3, *size), np.uint8)
    for channel, (eye_y, eye_x) in zip((0, 2), eyes, strict=True):
        image[channel][(y - eye_y) ** 2 + (x - eye_x) ** 2 <= radius**2] = 255
    return image


def centre(plane):
    y, x = np.nonzero(plane > 100)
    return y.mean(), x.mean()


@pytest.mark.parametrize(
    "eyes", [((120, 110), (120, 180)), ((100, 90), (130, 160)), ((60, 150), (50, 200))]
)
def test_eyes_land_where_the_training_crop_has_them(eyes):
    left, right = eyes
    face = align(photograph(eyes), {"reye": left, "leye": right}, "photograph")
    assert face.shape == (3, 112, 112)
    assert face.dtype == np.uint8
    # Bob's cropper cuts at whole pixels before it scales
    scale = (faces.RIGHT_EYE[1] - faces.LEFT_EYE[1]) / np.hypot(*np.subtract(right, left))
    assert centre(face[0]) == pytest.approx(faces.LEFT_EYE, abs=1 + scale)
    assert centre(face[2]) == pytest.approx(faces.RIGHT_EYE, abs=1 + scale)


def test_aligned_images_are_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (3, 112, 112), dtype=np.uint8)
    assert align(image, None, "a") is image
    in_place = {"reye": faces.LEFT_EYE, "leye": faces.RIGHT_EYE}
    assert align(image, in_place, "a") is image
    elsewhere = {"reye": (40, 30), "leye": (42, 80)}
    assert not np.array_equal(align(image, elsewhere, "a"), image)


def test_grey_images_get_three_equal_channels():
    grey = np.random.default_rng(0).integers(0, 256, (112, 112), dtype=np.uint8)
    assert np.array_equal(align(grey, None, "grey"), np.stack([grey] * 3))


@pytest.mark.parametrize(
    ("image", "annotations", "words"),
    [
        (None, None, r"some key: expected an image .* found none"),
        (np.zeros((4, 112, 112), np.uint8), None, r"found an array \[4, 112, 112\]"),
        (np.zeros((3, 112, 96), np.uint8), None, r"found 112x96 pixels .* no annotations"),
        (np.zeros((3, 250, 250), np.uint8), {"topleft": (0, 0)}, r"annotations of both eyes"),
        (
            np.zeros((3, 250, 250), np.uint8),
            {"reye": (100, 150), "leye": (100, 90)},
            r"some key: cannot be cropped .*swapped",
        ),
        (
            np.zeros((3, 250, 250), np.uint8),
            {"reye": (100, 90), "leye": (100, 90)},
            r"some key: cannot be cropped",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_aligned_is_named(image, annotations, words):
    with pytest.raises(SynthDistillError, match=words):
        align(image, annotations, "some key")
