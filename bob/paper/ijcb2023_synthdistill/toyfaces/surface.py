"""Where each pixel meets the head: an ellipsoid before an orthographic camera, and its light."""

import copy

import torch

from .drawing import coverage
from .framing import pixel_to_template, template_to_eyes
from .head import Head


class Surface:
    """A few heads as the camera sees them, and the paint on them.

    Fields are ``[B, H, W]``, lengths in half widths of a head, y and v down: ``x, y`` is the plane
    of the image, ``u, v`` the head's own frame; ``front`` is the depth there, positive on the face;
    ``across`` is ``|u|`` on the face and far off behind; ``outside`` is the distance to the
    silhouette, negative inside. Edges are soft over ``edge``, ``[B, 1, 1]``. Painted on are
    ``solid``, the head's opacity, ``shade``, its light, and ``skin``, its colours ``[B, 3, H, W]``.
    The parameters are those of :py:func:`.renderer.render`.
    """

    def __init__(
        self, identities: torch.Tensor, conditions: torch.Tensor, size: int, framing: str
    ) -> None:
        head = Head(identities, conditions)
        self.of, self.colour, self.photo = head.of, head.colour, head.photo
        self.skin = self.colour.skin.expand(-1, 3, size, size).clone()

        shift, factor = pixel_to_template(conditions, size, framing)
        upright = framing != "unaligned"
        self._heights = (float(shift[0].imag), float(factor[0].real)) if upright else None
        half = self.of.eye_half_distance.double().flatten()
        eyes_shift, eyes_factor = template_to_eyes(conditions)
        origin = (eyes_shift + eyes_factor * shift) * half
        pixel = factor * eyes_factor * half
        left, top, cosine, sine, width, blur = (
            value.float().view(-1, 1, 1)
            for value in (*_parts(origin), *_parts(pixel), pixel.abs(), (eyes_factor * half).abs())
        )
        centre = torch.arange(size) + 0.5
        row, column = centre.view(1, -1, 1), centre.view(1, 1, -1)
        self.x = ((left + self.of.eyes.x) + cosine * column) - sine * row
        self.y = ((top + self.of.eyes.y) + cosine * row) + sine * column
        self.edge = torch.hypot(width, blur * self.photo.blur)
        self._trace(head.rotation)

    def _trace(self, rotation: torch.Tensor) -> None:
        """Follow each pixel's ray to the ellipsoid: place, depth, silhouette and light."""
        of, x, y = self.of, self.x, self.y
        # the jaw narrows the lower face: widen the plane there instead
        low = ((y - (of.eyes.y + 0.1)) / of.length).clamp_(min=0.0)
        x = x / (low.square_().mul_(of.jaw).add_(1.0))

        axes = torch.cat([torch.ones_like(of.length), of.length, of.depth], dim=1)
        inverse = axes.double().squeeze(-1).reciprocal().square()
        matrix = torch.einsum("nij,nj,nkj->nik", rotation, inverse, rotation)
        m, r = (a.float().permute(1, 2, 0)[..., None, None] for a in (matrix, rotation))

        # z of the ray on the ellipsoid: m22 z^2 + 2 half z + rest = 0
        half = m[0, 2] * x + m[1, 2] * y
        rest = (m[0, 0] * x + 2.0 * m[0, 1] * y) * x + m[1, 1] * y.square() - 1.0
        root = (half.square() - m[2, 2] * rest).clamp_(min=0.0).sqrt_()
        z = (root - half) / m[2, 2]
        # the silhouette's ellipse, as a distance: (k - 1) k / |gradient|
        e = [m[i, j] - m[i, 2] * m[j, 2] / m[2, 2] for i, j in ((0, 0), (0, 1), (1, 1))]
        gradient_x, gradient_y = e[0] * x + e[1] * y, e[1] * x + e[2] * y
        level = (gradient_x * x + gradient_y * y).clamp_(min=1e-4).sqrt_()
        slope = torch.hypot(gradient_x, gradient_y).add_(1e-4)
        self.outside = (level - 1.0) * level / slope
        self.solid = coverage(self.outside, self.edge)

        self.u, self.v, self.front = (r[0, i] * x + r[1, i] * y + r[2, i] * z for i in range(3))
        # features stand on the front only: push the back of the head away from all of them
        self.across = torch.where(self.front > 0.0, self.u.abs(), 9.0)

        normal_x = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z
        normal_y = m[0, 1] * x + m[1, 1] * y + m[1, 2] * z
        length = (normal_x.square() + normal_y.square() + root.square()).add_(1e-6).sqrt_()
        azimuth = torch.deg2rad(self.photo.light_azimuth)
        elevation = torch.deg2rad(self.photo.light_elevation)
        self.light = torch.sin(azimuth) * torch.cos(elevation), -torch.sin(elevation)
        lambert = normal_x * self.light[0] + normal_y * self.light[1]
        lambert += root * (torch.cos(azimuth) * torch.cos(elevation))
        strength = self.photo.light_strength
        self.shade = (lambert / length).clamp_(min=0.0).mul_(1.15 * strength)
        # the rim of the head catches less of the light of the room
        rim = (root / length).clamp_(max=0.6).mul_(0.45).add_(0.73)
        self.shade.add_(1.0 - 0.85 * strength).mul_(rim)

    def rows(self, top: float, bottom: float) -> "Surface":
        """View only the rows between two heights of the aligned face, of 112: a feature is there.

        Painting on the view paints on this. All rows of a face that may be rolled.
        """
        part = copy.copy(self)
        if self._heights is not None:
            start, step = self._heights
            size = self.x.shape[1]
            ends = [min(max(round((y - start) / step), 0), size) for y in (top, bottom)]
            for name in ("u", "v", "across", "shade", "skin"):
                setattr(part, name, getattr(self, name)[..., slice(*ends), :])
        return part


def _parts(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.real, values.imag
