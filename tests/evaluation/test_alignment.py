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


@pytest.mark.parametrize("eyes", [((120, 110), (120, 180)), ((100, 90), (130, 160))])
def test_eyes_land_where_the_training_crop_has_them(eyes):
    left, right = eyes
    face = align(photograph(eyes), {"reye": left, "leye": right}, "photograph")
    assert face.shape == (3, 112, 112)
    assert face.dtype == np.uint8
    # Bob's cropper cuts at whole pixels before it scales
    scale = (faces.RIGHT_EYE[1] - faces.LEFT_EYE[1]) / np.hypot(*np.subtract(right, left))
    for plane, eye in ((face[0], faces.LEFT_EYE), (face[2], faces.RIGHT_EYE)):
        assert np.argwhere(plane > 100).mean(axis=0) == pytest.approx(eye, abs=1 + scale)


def test_aligned_images_are_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (3, 112, 112), dtype=np.uint8)
    assert align(image, None, "a") is image
    assert align(image, {"reye": faces.LEFT_EYE, "leye": faces.RIGHT_EYE}, "a") is image
    elsewhere = {"reye": (40, 30), "leye": (42, 80)}
    assert not np.array_equal(align(image, elsewhere, "a"), image)
    assert np.array_equal(align(image[0], None, "grey"), np.stack([image[0]] * 3))


@pytest.mark.parametrize(
    ("shape", "annotations", "words"),
    [
        (None, None, r"some key: expected an image .* found none"),
        ((4, 112, 112), None, r"found an array \[4, 112, 112\]"),
        ((3, 250, 250), {"topleft": (0, 0)}, r"annotations of both eyes"),
        ((3, 250, 250), {"reye": (9, 150), "leye": (9, 90)}, r"cannot be cropped .*swapped"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_aligned_is_named(shape, annotations, words):
    with pytest.raises(SynthDistillError, match=words):
        align(shape and np.zeros(shape, np.uint8), annotations, "some key")
