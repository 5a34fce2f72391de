"""A face is found and aligned whatever the photograph is, or the reason is said."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bob.paper.ijcb2023_synthdistill.deployment import photographs as room
from bob.paper.ijcb2023_synthdistill.deployment.photographs import TEMPLATE, Detector
from bob.paper.ijcb2023_synthdistill.fetching import DETECTOR_FILE, default_folder
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, configure_path

PEOPLE = Path(__file__).parents[2] / "experiments" / "toyfaces" / "pictures" / "people.png"
YUNET = default_folder() / DETECTOR_FILE

COARSE = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
FACE = np.asarray(Image.fromarray(COARSE).resize((112, 112), Image.Resampling.BICUBIC))
"""A smooth, colourful ``[112, 112, 3]``, uint8."""


def place(face, size, scale, angle=0.0, centre=None):
    """Put an aligned face into a grey photograph; give it and the landmarks ``[5, 2]``."""
    width, height = size
    x, y = centre or (width / 2, height / 2)
    matrix = cv2.getRotationMatrix2D((56, 56), angle, scale)
    matrix[:, 2] += (x - 56, y - 56)
    photograph = cv2.warpAffine(
        face, matrix, size, flags=cv2.INTER_CUBIC, borderValue=(128, 128, 128)
    )
    return photograph, TEMPLATE @ matrix[:, :2].T + matrix[:, 2]


class KnowingDetector:
    """Stands for ``cv2.FaceDetectorYN``: knows the faces of a photograph of this size."""

    def __init__(self, size, *faces):
        self.size, self.faces = size, faces

    def create(self, path, config, size, confidence):
        self.sizes = [size]
        return self

    def setInputSize(self, size):
        self.sizes.append(size)

    def detect(self, image):
        assert image.shape[1::-1] == self.sizes[-1]
        rows = []
        for landmarks in self.faces:
            low, high = landmarks.min(axis=0), landmarks.max(axis=0)
            rows.append([*low, *(high - low), *landmarks.flatten(), 0])
        scale = np.divide(self.sizes[-1], self.size)
        return 1, (np.array(rows) * [*np.tile(scale, 7), 1]).astype(np.float32) if rows else None


@pytest.fixture
def find(tmp_path, monkeypatch):
    """Give the function that saves a photograph and opens it with a detector of known faces."""
    (tmp_path / "yunet.onnx").touch()

    def open_it(pixels, *faces, name="photograph.png"):
        image = Image.fromarray(pixels)
        image.save(tmp_path / name, quality=95)
        monkeypatch.setattr(cv2, "FaceDetectorYN", KnowingDetector(image.size, *faces))
        return room.open_photograph(tmp_path / name, Detector(tmp_path / "yunet.onnx"))

    return open_it


def difference(face):
    """Give the mean difference in grey levels, but for the border that interpolation blurs."""
    return np.abs(face.transpose(1, 2, 0).astype(float) - FACE)[4:-4, 4:-4].mean()


@pytest.mark.parametrize(
    ("size", "scale", "angle", "name"),
    [((800, 900), 3, 25, "p.png"), ((300, 200), 0.7, -40, "p.png"), ((5472, 3648), 8, 5, "p.jpg")],
)
def test_the_face_is_turned_and_scaled_upright(find, size, scale, angle, name):
    pixels, landmarks = place(FACE, size, scale, angle)
    found = find(pixels, landmarks, name=name)
    assert found.face.shape == (3, 112, 112)
    assert difference(found.face) < 3
    np.testing.assert_allclose(found.landmarks, landmarks, atol=0.01 * scale)
    assert found.note == ""
    # large photographs are looked at in a small size
    assert max(cv2.FaceDetectorYN.sizes[1]) <= 640


def test_the_largest_of_several_faces_is_taken_and_said(find):
    pixels, small = place(FACE, (600, 300), 0.6, centre=(100, 150))
    other, large = place(FACE, (600, 300), 1.2, centre=(420, 150))
    pixels = np.where(np.arange(600)[:, None] < 250, pixels, other)
    found = find(pixels, small, large)
    assert difference(found.face) < 3
    assert found.note.startswith("2 faces, the largest is taken: that around (4")


def test_what_cannot_be_used_is_told(find):
    pixels, landmarks = place(FACE, (400, 300), 1)
    with pytest.raises(SynthDistillError, match="no face was found in 400x300 pixels"):
        find(pixels)
    assert len(cv2.FaceDetectorYN.sizes) == 3  # looked twice
    pixels, landmarks = place(FACE, (400, 300), 0.5)
    with pytest.raises(SynthDistillError, match="too small, 18 pixels from eye to eye"):
        find(pixels, landmarks)
    pixels, landmarks = place(FACE, (400, 300), 2, centre=(390, 150))
    with pytest.raises(SynthDistillError, match=r"cut off by the border, 4\d% of it"):
        find(pixels, landmarks)


def test_eyes_by_hand(tmp_path):
    pixels, landmarks = place(FACE, (400, 300), 2, 15)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    left, right = landmarks[:2].tolist()
    found = room.open_with_eyes(tmp_path / "p.png", (*left, *right))
    assert difference(found.face) < 6  # by the benchmarks' crop, of two points
    with pytest.raises(SynthDistillError, match="must be the one that is left in the image"):
        room.open_with_eyes(tmp_path / "p.png", (*right, *left))


def test_the_detector_is_found_and_checked(tmp_path, monkeypatch, exported):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(SynthDistillError, match="synthdistill-fetch detector"):
        Detector()
    configure_path("bob.paper.ijcb2023_synthdistill.detector", tmp_path / "mine.onnx")
    with pytest.raises(SynthDistillError, match=r"nothing at .*mine.onnx"):
        Detector()
    for content in (b"no ONNX", (exported / "model.onnx").read_bytes()):
        (tmp_path / "mine.onnx").write_bytes(content)
        with pytest.raises(SynthDistillError, match="is not the face detector YuNet"):
            Detector()


@pytest.mark.skipif(not YUNET.exists(), reason="needs `synthdistill-fetch detector`")
def test_yunet_finds_drawn_faces(tmp_path):
    with Image.open(PEOPLE) as people:
        people.convert("RGB").resize((1792, 936)).save(tmp_path / "many.png")
        people.convert("RGB").crop((0, 20, 112, 132)).resize((448, 448)).save(tmp_path / "one.png")
    detector = Detector(YUNET)
    many = room.open_photograph(tmp_path / "many.png", detector)
    assert 25 < int(many.note.split()[0]) <= 40
    one = room.open_photograph(tmp_path / "one.png", detector)
    assert one.note == ""
    (left, right, *_) = one.landmarks / 4
    assert abs(left - (38.3, 51.6)).max() < 8
    assert abs(right - (73.5, 51.6)).max() < 8
