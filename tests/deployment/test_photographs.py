"""A face is found and aligned whatever the photograph is, or the reason is said."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from photographs_of import KnowingDetector, aligned_face, place
from PIL import Image

from bob.paper.ijcb2023_synthdistill.deployment import photographs as room
from bob.paper.ijcb2023_synthdistill.deployment.photographs import Detector
from bob.paper.ijcb2023_synthdistill.fetching import DETECTOR_FILE, default_folder
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, configure_path

PEOPLE = Path(__file__).parents[2] / "experiments" / "toyfaces" / "pictures" / "people.png"
YUNET = default_folder() / DETECTOR_FILE

FACE = aligned_face()


@pytest.fixture
def find(tmp_path, monkeypatch):
    """Give the function that saves a photograph and opens it with a detector of known faces."""
    (tmp_path / "yunet.onnx").touch()

    def open_it(pixels, *faces, name="photograph.png", **saved):
        path = tmp_path / name
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(path, **saved)
        size = image.size[::-1] if "exif" in saved else image.size
        monkeypatch.setattr(cv2, "FaceDetectorYN", KnowingDetector(size, *faces))
        return room.open_photograph(path, Detector(tmp_path / "yunet.onnx"))

    return open_it


def difference(face, expected=FACE):
    """Give the mean difference in grey levels, but for the border that interpolation blurs."""
    return np.abs(face.transpose(1, 2, 0).astype(float) - expected)[4:-4, 4:-4].mean()


@pytest.mark.parametrize(
    ("size", "scale", "angle"),
    [((400, 300), 1, 0), ((800, 900), 3, 25), ((300, 200), 0.7, -40), ((5472, 3648), 8, 5)],
)
def test_the_face_is_turned_and_scaled_upright(find, size, scale, angle):
    pixels, landmarks = place(FACE, size, scale, angle)
    kind = {"name": "p.jpg", "quality": 95, "subsampling": 0} if size[0] > 5000 else {}
    found = find(pixels, landmarks, **kind)
    assert found.face.shape == (3, 112, 112)
    assert difference(found.face) < 3
    np.testing.assert_allclose(found.landmarks, landmarks, atol=0.01 * scale)
    assert found.note == ""
    # large photographs are looked at in a small size
    assert max(cv2.FaceDetectorYN.sizes[1]) <= 640


def test_it_is_turned_as_exif_says(find):
    pixels, landmarks = place(FACE, (400, 300), 1.5)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    found = find(np.rot90(pixels), landmarks, name="p.jpg", exif=exif, quality=95)
    assert difference(found.face) < 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_grey_and_transparent_photographs(find, mode):
    pixels, landmarks = place(FACE, (400, 300), 1.5)
    found = find(Image.fromarray(pixels).convert(mode), landmarks)
    grey = np.asarray(Image.fromarray(FACE).convert("L").convert("RGB"))
    assert difference(found.face, grey if mode == "L" else FACE) < (12 if mode == "P" else 3)


def test_the_largest_of_several_faces_is_taken_and_said(find):
    pixels, small = place(FACE, (600, 300), 0.6, centre=(100, 150))
    other, large = place(FACE, (600, 300), 1.2, centre=(420, 150))
    pixels = np.where(np.arange(600)[:, None] < 250, pixels, other)
    found = find(pixels, small, large)
    assert difference(found.face) < 3
    assert found.note.startswith("2 faces, the largest is taken: that around (4")


def test_what_cannot_be_used_is_told(find, tmp_path):
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
    (tmp_path / "no.jpg").write_bytes(b"no photograph")
    with pytest.raises(SynthDistillError, match="no readable image"):
        room.open_photograph(tmp_path / "no.jpg", Detector(tmp_path / "yunet.onnx"))


def test_eyes_by_hand(tmp_path):
    pixels, landmarks = place(FACE, (400, 300), 2, 15)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    left, right = landmarks[:2].tolist()
    found = room.open_with_eyes(tmp_path / "p.png", (*left, *right))
    assert difference(found.face) < 6  # by the benchmarks' crop, of two points
    with pytest.raises(SynthDistillError, match="must be the one that is left in the image"):
        room.open_with_eyes(tmp_path / "p.png", (*right, *left))
    with pytest.raises(SynthDistillError, match="outside of its 400x300 pixels"):
        room.open_with_eyes(tmp_path / "p.png", (10, 10, 500, 10))


def test_aligned_faces_have_their_size(tmp_path):
    Image.fromarray(FACE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        room.open_aligned(tmp_path / "a.png").face, FACE.transpose(2, 0, 1)
    )
    Image.fromarray(FACE).resize((160, 160)).save(tmp_path / "a.png")
    with pytest.raises(SynthDistillError, match="112x112 pixels was expected"):
        room.open_aligned(tmp_path / "a.png")


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
