"""The image conventions: ranges, the crop to 112x112, named conversions from and to others.

Inside the package an image batch is ``[B, 3, H, W]``, float32, RGB, in [-1, 1]. A *face* is such an
image, 112x112, aligned: the eyes at :py:data:`LEFT_EYE` and :py:data:`RIGHT_EYE`.
"""

import torch
import torch.nn.functional as F

FACE_SIZE = 112
"""Height and width of an aligned face, in pixels."""

LEFT_EYE = (51.6, 38.2946)
"""(y, x) of the eye that is left in the image, in an aligned face (the usual ArcFace template)."""

RIGHT_EYE = (51.6, 73.5318)
"""(y, x) of the eye that is right in the image, in an aligned face."""

FFHQ_SIZE = 1024
FFHQ_LEFT_EYE = (480, 380)
"""(y, x) of the eye that is left in the image, in an FFHQ-aligned image of 1024x1024 pixels."""

FFHQ_RIGHT_EYE = (480, 650)
"""(y, x) of the eye that is right in the image, in an FFHQ-aligned image of 1024x1024 pixels."""


def crop_box(resolution: int) -> tuple[slice, slice]:
    """Give the rows and columns of an FFHQ-aligned image that become the aligned face.

    The eyes of FFHQ-aligned images are known (no detector needed): scaled to the resolution, they
    must land on the eyes of the aligned face. As in the published code the eyes, and both corners
    of the box, are truncated to whole pixels: at 256 rows 21 to 233 and columns 22 to 234. From 64
    to 2048 pixels (powers of two) the box is a square; at 32 it has 29 rows and 28 columns.
    """
    eye_y = FFHQ_LEFT_EYE[0] * resolution // FFHQ_SIZE
    left_x = FFHQ_LEFT_EYE[1] * resolution // FFHQ_SIZE
    right_x = FFHQ_RIGHT_EYE[1] * resolution // FFHQ_SIZE
    scale = (right_x - left_x) / (RIGHT_EYE[1] - LEFT_EYE[1])
    top, left = eye_y - scale * LEFT_EYE[0], left_x - scale * LEFT_EYE[1]
    side = scale * FACE_SIZE
    return slice(int(top), int(top + side)), slice(int(left), int(left + side))


def crop(images: torch.Tensor) -> torch.Tensor:
    """Cut and resize FFHQ-aligned images ``[B, 3, R, R]`` to aligned faces ``[B, 3, 112, 112]``.

    Values outside [-1, 1] are clamped. Bilinear (``align_corners=False``, no antialias), as the
    published training does.
    """
    rows, columns = crop_box(images.shape[-1])
    return F.interpolate(
        images[:, :, rows, columns].clamp(-1.0, 1.0),
        size=(FACE_SIZE, FACE_SIZE),
        mode="bilinear",
        align_corners=False,
        antialias=False,
    )


def for_teacher(
    faces: torch.Tensor,
    mean: float = 127.5,
    std: float = 128.0,
    bgr: bool = False,
    size: int = FACE_SIZE,
) -> torch.Tensor:
    """Convert faces from [-1, 1] to what a teacher takes: (pixel - mean) / std of [0, 255].

    The default is that of ArcFace teachers. Another ``size`` than 112 is made bilinearly.
    """
    if size != FACE_SIZE:
        faces = F.interpolate(faces, (size, size), mode="bilinear", align_corners=False)
    if bgr:
        faces = faces.flip(1)
    faces = faces * (127.5 / std)
    return faces if mean == 127.5 else faces + (127.5 - mean) / std


def from_uint8(pixels: torch.Tensor) -> torch.Tensor:
    """Convert pixels in [0, 255], of any type, to float32 in [-1, 1], which students take."""
    return pixels.to(torch.float32) / 127.5 - 1.0


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Convert images in about [-1, 1] to uint8 pixels (clamped, rounded to nearest)."""
    return (images.clamp(-1.0, 1.0) * 127.5 + 127.5).round().to(torch.uint8)
