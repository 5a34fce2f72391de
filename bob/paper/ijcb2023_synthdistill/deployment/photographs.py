"""Photographs become aligned faces: found by YuNet, or by eyes that somebody marked."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..benchmarks.eyes import check_eyes
from ..benchmarks.images import ImageSource, load_image
from ..evaluation.alignment import align
from ..faces import FACE_SIZE
from ..fetching import DETECTOR_FILE, default_folder
from ..files import DETECTOR, SynthDistillError, configured_path

TEMPLATE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
"""(x, y) of eyes, nose and corners of the mouth in an aligned face, left in the image first: the
usual five points of ArcFace's."""

SIDES = (640, 1600)
"""Largest sides, in pixels, at which faces are looked for: the second if the first shows none."""

CONFIDENCE = 0.7
MIN_EYE_DISTANCE = 20
"""Pixels between the eyes of the smallest face that is taken; in an aligned face they are 35."""

MAX_OUTSIDE = 0.15
"""Share of an aligned face that may lie outside of its photograph."""


class Photograph(NamedTuple):
    """What was found in a photograph.

    ``image`` is ``[3, H, W]``, ``face`` aligned ``[3, 112, 112]``, both RGB, uint8; ``landmarks``
    are ``[N, 2]``, (x, y), none of an aligned face; ``note`` is for the user.
    """

    image: np.ndarray
    face: np.ndarray
    landmarks: np.ndarray
    note: str


class Detector:
    """YuNet through OpenCV. It has to be called by one thread at a time."""

    def __init__(self, path: Path | None = None) -> None:
        import cv2

        fetched = default_folder() / DETECTOR_FILE
        path = path or configured_path(DETECTOR) or fetched
        if not path.is_file():
            raise SynthDistillError(
                f"expected the face detector, found nothing at {path}. Get it with "
                "`synthdistill-fetch detector`, or give aligned faces (--aligned)."
            )
        try:
            self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), CONFIDENCE)
            # any ONNX file is opened
            self._network.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise SynthDistillError(
                f"{path} is not the face detector YuNet: {error.err or error}. Get it with "
                "`synthdistill-fetch detector --force`."
            ) from error

    def find(self, image: np.ndarray) -> list[np.ndarray]:
        """Find the faces of an image ``[3, H, W]``, RGB, uint8: the largest first.

        Of each the five landmarks ``[5, 2]``, (x, y), in the order of :py:data:`TEMPLATE`.
        """
        import cv2

        pixels = np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1])
        for side in SIDES:
            scale = min(1.0, side / max(pixels.shape[:2]))
            small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            self._network.setInputSize(small.shape[1::-1])
            found = self._network.detect(small)[1]
            if found is not None:
                scales = np.divide(pixels.shape[1::-1], small.shape[1::-1])
                # left, top, width, height, five times x and y, confidence
                rows = sorted(found.astype(float), key=lambda row: -row[2] * row[3])
                return [row[4:14].reshape(5, 2) * scales for row in rows]
        return []


def open_photograph(path: Path, detector: Detector) -> Photograph:
    """Find the largest face of a photograph, turned as its EXIF orientation says, and align it.

    No face, one too small and one that the photograph cuts off are refused.
    """
    image = load_image(ImageSource(str(path), aligned=False))
    faces = detector.find(image)
    if not faces:
        size = f"{image.shape[2]}x{image.shape[1]}"
        raise SynthDistillError(f"{path}: no face was found in {size} pixels. Mark the eyes?")
    landmarks = faces[0]
    distance = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    if distance < MIN_EYE_DISTANCE:
        raise SynthDistillError(
            f"{path}: the face is too small, {distance:.0f} pixels from eye to eye: at least "
            f"{MIN_EYE_DISTANCE} are needed."
        )
    face, outside = warp(image, landmarks)
    if outside > MAX_OUTSIDE:
        raise SynthDistillError(
            f"{path}: the face is cut off by the border, {outside:.0%} of it lie outside."
        )
    x, y = landmarks.mean(axis=0)
    several = f"{len(faces)} faces, the largest is taken: that around ({x:.0f}, {y:.0f})"
    return Photograph(image, face, landmarks, several if len(faces) > 1 else "")


def open_with_eyes(path: Path, eyes: Sequence[float]) -> Photograph:
    """Align a photograph around its eyes: (x, y) of the one left in the image, then the other."""
    source = ImageSource(str(path), aligned=False)
    image = load_image(source)
    (x, y), (other_x, other_y) = landmarks = np.reshape(eyes, (2, 2))
    if x > other_x:
        raise SynthDistillError(f"{path}: the first eye must be the one that is left in the image.")
    named = {"reye": (float(y), float(x)), "leye": (float(other_y), float(other_x))}
    check_eyes(source, named, *image.shape[1:])
    return Photograph(image, align(image, named, str(path)), landmarks, "")


def open_aligned(path: Path) -> Photograph:
    """Open a face that is aligned already, 112x112 pixels."""
    image = load_image(ImageSource(str(path)))
    return Photograph(image, image, np.empty((0, 2)), "")


def warp(image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """Turn, scale and shift five landmarks ``[5, 2]`` to those of an aligned face.

    The best similarity in the sense of least squares, bilinear after a reduction by area. Gives the
    face ``[3, 112, 112]``, and the share of it that lies outside of the image: black.
    """
    import cv2

    pixels, size = np.ascontiguousarray(image.transpose(1, 2, 0)), (FACE_SIZE, FACE_SIZE)
    scale = abs(_similarity(landmarks)[0])
    if scale < 0.5:
        pixels = cv2.resize(pixels, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        landmarks = landmarks * np.divide(pixels.shape[1::-1], image.shape[:0:-1])
    factor, shift = _similarity(landmarks)
    matrix = np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )
    face = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR)
    inside = cv2.warpAffine(np.ones(pixels.shape[:2], np.float32), matrix, size)
    return np.ascontiguousarray(face.transpose(2, 0, 1)), 1 - float(inside.mean())


def _similarity(landmarks: np.ndarray) -> tuple[complex, complex]:
    """Give a and b so that a z + b is nearest to the template, for points as complex numbers."""
    z, w = landmarks @ (1, 1j), TEMPLATE @ (1, 1j)
    around = z - z.mean()
    factor = np.vdot(around, w - w.mean()) / np.vdot(around, around).real
    return complex(factor), complex(w.mean() - factor * z.mean())
