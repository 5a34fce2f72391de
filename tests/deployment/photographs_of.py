"""Photographs with faces at known places, and a detector that knows the places."""

import cv2
import numpy as np
from PIL import Image

from bob.paper.ijcb2023_synthdistill.deployment.photographs import TEMPLATE


def aligned_face(seed=0):
    """Give a smooth, colourful ``[112, 112, 3]``, uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC))


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
