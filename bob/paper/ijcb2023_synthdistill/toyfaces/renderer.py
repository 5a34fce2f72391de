"""Draw faces: an ellipsoid seen by an orthographic camera, its features signed distances.

Every pixel is traced to the head's surface, which gives the features their place and foreshortening
and the light its normal. Edges are soft by the width of a pixel, or by the blur of the photograph.
"""

import torch

from .. import faces
from .camera import develop
from .drawing import coverage, paint
from .framing import eye_positions, pixel_to_template, template_to_eyes
from .head import Head

__all__ = ["eye_positions", "render"]

# images at once: few enough for the working set to stay in the cache
_CHUNK = 8


def render(
    identities: torch.Tensor,
    conditions: torch.Tensor,
    size: int = faces.FACE_SIZE,
    framing: str = "aligned",
) -> torch.Tensor:
    """Draw photographs of people. No randomness: the noise follows from the column ``seed``.

    Parameters
    ----------
    identities
        ``[N, len(IDENTITY_NAMES)]``, standard normal.
    conditions
        ``[N, len(CONDITION_NAMES)]``, in the units of each column.
    size
        Height and width of the images, in pixels.
    framing
        ``aligned``, ``ffhq`` or ``unaligned``, see :py:data:`framing.FRAMINGS`.

    Returns
    -------
        ``[N, 3, size, size]``, float32, RGB in [-1, 1].
    """
    images = torch.empty(len(identities), 3, size, size)
    for first in range(0, len(identities), _CHUNK):
        part = slice(first, first + _CHUNK)
        images[part] = _Picture(identities[part], conditions[part], size, framing).draw()
    return images


class _Picture:
    """The layers of a few images, painted from the back to the front.

    Names: ``x, y`` is the plane of the image and ``u, v`` the head's own frame; both in half widths
    of the head, y and v down. Fields are ``[B, H, W]``.
    """

    def __init__(
        self, identities: torch.Tensor, conditions: torch.Tensor, size: int, framing: str
    ) -> None:
        self.size = size
        self.head = Head(identities, conditions)
        self.lengths, self.colours = self.head.lengths, self.head.colours
        self.conditions = self.head.conditions

        shift, factor = pixel_to_template(conditions, size, framing)
        eyes_shift, eyes_factor = template_to_eyes(conditions)
        self.rows = self._template_rows(shift, factor, framing)
        half = self.lengths["eye_half_distance"].double().flatten()
        pixel = factor * eyes_factor * half
        origin = (eyes_shift + eyes_factor * shift) * half

        def scalar(values: torch.Tensor) -> torch.Tensor:
            return values.float().view(-1, 1, 1)

        centre = torch.arange(size) + 0.5
        row, column = centre.view(1, -1, 1), centre.view(1, 1, -1)
        cosine, sine = scalar(pixel.real), scalar(pixel.imag)
        left = scalar(origin.real) + self.lengths["eyes_x"]
        top = scalar(origin.imag) + self.lengths["eyes_y"]
        self.x = (left + cosine * column) - sine * row
        self.y = (top + cosine * row) + sine * column
        blur = conditions.new_tensor(1.0) * scalar((eyes_factor * half).abs())
        self.edge = torch.hypot(scalar(pixel.abs()), blur * self.conditions["blur"])

    def _template_rows(
        self, shift: torch.Tensor, factor: torch.Tensor, framing: str
    ) -> dict[str, slice]:
        """Find the rows that hold a feature, so that it is not looked for elsewhere."""
        if framing == "unaligned":
            return {"eyes": slice(None), "mouth": slice(None)}
        start, step = float(shift[0].imag), float(factor[0].real)

        def at(y: float) -> int:
            return min(max(round((y - start) / step), 0), self.size)

        # a half width of the head is 35 to 55 pixels of the template
        return {"eyes": slice(at(24), at(78)), "mouth": slice(at(64), self.size)}

    def draw(self) -> torch.Tensor:
        """Paint everything, then let the camera spoil it. ``[B, 3, H, W]`` in [-1, 1]."""
        self._trace()
        image = self._background()
        self._behind(image)
        skin = self.colours["skin"].expand(-1, 3, self.size, self.size).clone()
        self._skin(skin)
        self._eyes(skin)
        self._mouth(skin)
        self._nose(skin)
        self._glasses(skin)
        self._hair(skin)
        self._worn(skin)
        skin.mul_(self.shade.unsqueeze(1))
        image.lerp_(skin, self.solid.unsqueeze(1))
        self._occluder(image)
        return develop(image, self.conditions)

    def _trace(self) -> None:
        """Find the head's surface behind each pixel: u, v, its depth, its shade, the silhouette."""
        of, x, y = self.lengths, self.x, self.y
        # the jaw narrows the lower face: widen the plane there instead
        low = ((y - (of["eyes_y"] + 0.1)) / of["length"]).clamp_(min=0.0)
        x = x / (low.square_().mul_(of["jaw"]).add_(1.0))

        rotation = self.head.rotation
        axes = torch.cat([torch.ones_like(of["length"]), of["length"], of["depth"]], dim=1)
        inverse = axes.double().squeeze(-1).reciprocal().square()
        matrix = torch.einsum("nij,nj,nkj->nik", rotation, inverse, rotation)
        m = [[matrix[:, i, j].float().view(-1, 1, 1) for j in range(3)] for i in range(3)]
        r = [[rotation[:, i, j].float().view(-1, 1, 1) for j in range(3)] for i in range(3)]

        # z of the ray on the ellipsoid: m22 z^2 + 2 half z + rest = 0
        half = m[0][2] * x + m[1][2] * y
        rest = (m[0][0] * x + 2.0 * m[0][1] * y) * x + m[1][1] * y.square() - 1.0
        inside = half.square() - m[2][2] * rest
        root = inside.clamp(min=0.0).sqrt_()
        z = (root - half) / m[2][2]
        # the silhouette's ellipse, as a distance: (k - 1) k / |gradient|
        e = [m[i][j] - m[i][2] * m[j][2] / m[2][2] for i, j in ((0, 0), (0, 1), (1, 1))]
        gradient_x, gradient_y = e[0] * x + e[1] * y, e[1] * x + e[2] * y
        level = (gradient_x * x + gradient_y * y).clamp_(min=1e-4).sqrt_()
        slope = torch.hypot(gradient_x, gradient_y).add_(1e-4)
        self.outside = (level - 1.0) * level / slope
        self.solid = coverage(self.outside, self.edge)

        self.u = r[0][0] * x + r[1][0] * y + r[2][0] * z
        self.v = r[0][1] * x + r[1][1] * y + r[2][1] * z
        self.front = r[0][2] * x + r[1][2] * y + r[2][2] * z
        # features stand on the front only: push the back of the head away from all of them
        self.across = torch.where(self.front > 0.0, self.u.abs(), 9.0)

        normal_x = m[0][0] * x + m[0][1] * y + m[0][2] * z
        normal_y = m[0][1] * x + m[1][1] * y + m[1][2] * z
        length = (normal_x.square() + normal_y.square() + root.square()).add_(1e-6).sqrt_()
        azimuth = torch.deg2rad(self.conditions["light_azimuth"])
        elevation = torch.deg2rad(self.conditions["light_elevation"])
        self.light = (
            torch.sin(azimuth) * torch.cos(elevation),
            -torch.sin(elevation),
            torch.cos(azimuth) * torch.cos(elevation),
        )
        lambert = normal_x * self.light[0] + normal_y * self.light[1] + root * self.light[2]
        lambert = (lambert / length).clamp_(min=0.0)
        strength = self.conditions["light_strength"]
        self.shade = lambert.mul_(1.15 * strength).add_(1.0 - 0.85 * strength)
        # the rim of the head catches less of the light of the room
        self.shade.mul_((root / length).clamp_(max=0.6).mul_(0.45).add_(0.73))

    def _background(self) -> torch.Tensor:
        angle = torch.deg2rad(self.conditions["background_angle"])
        across = torch.cos(angle) * self.x + torch.sin(angle) * self.y
        along = torch.cos(angle) * self.y - torch.sin(angle) * self.x
        # a slope and a soft stripe
        pattern = 0.4 * across + 0.5 * torch.sin(2.6 * along + 2.0 * angle)
        pattern = pattern.mul_(self.conditions["background_contrast"]).add_(1.0)
        return self.colours["background"] * pattern.unsqueeze(1)

    def _behind(self, image: torch.Tensor) -> None:
        """Paint what the head hides: long hair, shoulders, neck, ears."""
        of, x, y = self.lengths, self.x, self.y
        wide, long = of["hair_volume"] * 1.06, of["hair_length"]
        # down from the head, ending in a round: a distance to the power 4 has rounder corners
        side, end = x.abs() - wide + 0.5, y - (long - 0.3)
        hair = side.clamp_(min=0.0).pow_(4).add_(end.clamp_(min=0.0).pow_(4)).sqrt_().sqrt_() - 0.5
        hair = torch.where(y < 0.0, torch.hypot(x, y / of["length"]) - wide, hair)
        paint(image, coverage(hair, 2.0 * self.edge) * (long > 0.25), 0.75 * self.colours["hair"])

        chin = of["length"]
        neck = torch.maximum(x.abs() - 0.56, 0.5 - y)
        shadow = ((y - chin) * 0.8).clamp_(-0.1, 0.2).add_(0.68)
        paint(image, coverage(neck, self.edge), self.colours["skin"] * shadow.unsqueeze(1))
        slope = (x.square() * 0.16 + (chin + 0.28)) - y
        paint(image, coverage(slope, self.edge), self.colours["cloth"])

        ears = torch.minimum(*(self._ear(side) for side in ("left_ear", "right_ear")))
        paint(image, coverage(ears, self.edge), 0.88 * self.colours["skin"])

    def _ear(self, name: str) -> torch.Tensor:
        of = self.lengths
        across = (self.x - of[f"{name}_x"]) * 1.7
        return torch.hypot(across, self.y - of[f"{name}_y"]) - of["ear"]

    def _skin(self, skin: torch.Tensor) -> None:
        """Paint cheeks, wrinkles, marks and beard, and the ear on the side of the head."""
        of, u, v, across = self.lengths, self.u, self.v, self.across
        cheek = torch.hypot(across - 0.52, v - of["nose_y"] + 0.02).mul_(-2.6).add_(1.0)
        paint(skin, cheek.clamp_(0.0, 0.6), self.colours["blush"])

        # forehead lines, and the fold from the nose to the corner of the mouth
        forehead = (of["eye_y"] - 0.30 - v).clamp(0.0, 0.1) * (0.62 - across).clamp_(0.0, 0.1)
        lines = torch.sin((v + 0.08 * u.square()) * 46.0).mul_(forehead).mul_(34.0)
        reach = v - of["nose_y"]
        fold = across - (0.5 * of["nose_width"] + 0.09) - 0.42 * reach
        fold = (0.05 - fold.abs()).clamp_(min=0.0) * (0.23 - (reach - 0.16).abs()).clamp_(0.0, 0.2)
        wrinkles = fold.mul_(75.0).add_(lines.clamp_(min=0.0)).mul_(of["wrinkles"])
        self.shade.mul_(wrinkles.clamp_(max=1.0).mul_(-0.5).add_(1.0))

        mole = torch.hypot(u - of["mole_x"], v - of["mole_y"]) - of["mole_size"]
        visible = (self.front > 0.0) & (of["mole_size"] > 0.005)
        paint(skin, coverage(mole, self.edge) * visible, self.colours["mole"])

        top = of["mouth_y"] - 0.02 - 0.55 * (across.clamp(max=1.0) - 0.30).clamp_(min=0.0)
        bare = torch.hypot(u, (v - of["mouth_y"]) * 1.5) - of["mouth_width"] * 0.9
        beard = coverage(torch.maximum(top - v, -bare), 0.12 + self.edge)
        moustache = torch.hypot(u * 0.36, v - of["mouth_y"] + of["lips"] + 0.05) - 0.09
        beard = torch.maximum(beard, coverage(moustache, 0.06 + self.edge))
        paint(skin, beard.mul_(of["beard"].clamp(max=0.85)), self.colours["beard"])

    def _eyes(self, skin: torch.Tensor) -> None:
        """Paint eyes and brows; both at once, since the head's frame is symmetric."""
        of, colours = self.lengths, self.colours
        rows = self.rows["eyes"]
        skin, u = skin[:, :, rows], self.u[:, rows]
        side = self.across[:, rows] - of["eye_x"]
        down = self.v[:, rows] - of["eye_y"]
        edge = self.edge

        tilted = down + of["eye_tilt"] * side
        profile = (1.0 - (side / of["eye_width"]).square()).clamp_(min=-1.0)
        lid = tilted.abs() - of["eye_height"] * profile
        socket = torch.hypot(side * 0.7, down + 0.05) - 0.16
        self.shade[:, rows] *= coverage(socket, 0.16 + edge).mul_(-0.16).add_(1.0)
        opening = coverage(lid, edge)
        crease = coverage((lid - 0.012).abs_().sub_(0.024), edge)
        # the upper lid is dark with lashes, the lower one hardly
        crease.mul_((tilted * -9.0).clamp_(-0.45, 0.45).add_(0.5))
        paint(skin, opening, torch.full_like(colours["skin"], 0.93))

        gaze = torch.where(u > 0.0, self.conditions["gaze"], -self.conditions["gaze"])
        radius = torch.hypot(side - 0.12 * gaze, tilted + 0.012)
        iris = coverage(radius - of["iris"], edge).mul_(opening)
        paint(skin, iris, colours["iris"])
        pupil = coverage(radius - 0.42 * of["iris"], edge).mul_(opening)
        paint(skin, pupil, torch.full_like(colours["skin"], 0.04))
        glint = torch.hypot(side + 0.03, tilted + 0.045) - 0.022
        paint(skin, coverage(glint, edge).mul_(opening), torch.ones_like(colours["skin"]))
        paint(skin, crease, 0.22 * colours["skin"])

        along = side / of["brow_width"]
        arch = down + of["brow_y"] + of["brow_angle"] * side - 0.10 * along.square()
        taper = of["brow_thickness"] * (1.15 - 0.4 * along)
        brow = torch.maximum(arch.abs_() - taper, (along.abs_() - 1.0) * 0.2)
        paint(skin, coverage(brow, 0.03 + edge).mul_(0.9), colours["brow"])

    def _mouth(self, skin: torch.Tensor) -> None:
        of, colours = self.lengths, self.colours
        rows = self.rows["mouth"]
        skin, across, v = skin[:, :, rows], self.across[:, rows], self.v[:, rows]
        along = (across / of["mouth_width"]).square_().clamp_(max=4.0)
        narrow = 1.0 - along
        down = v - of["mouth_y"] + of["mouth_bend"] * along
        gap = of["mouth_gap"]
        lips = down.abs() - (of["lips"] + gap) * narrow
        paint(skin, coverage(lips, self.edge), colours["lip"])
        inner = down.abs() - (gap * narrow + 0.012)
        inner = coverage(torch.maximum(inner, (along - 0.96) * 0.2), self.edge)
        paint(skin, inner, 0.25 * colours["lip"])
        teeth = coverage(down - 0.2 * gap, self.edge).mul_(inner).mul_(gap > 0.02)
        paint(skin, teeth, torch.full_like(colours["skin"], 0.88))
        chin = torch.hypot(across, (v - of["mouth_y"] - of["lips"] - gap - 0.07) * 2.4) - 0.12
        self.shade[:, rows] *= coverage(chin, 0.2 + self.edge).mul_(-0.15).add_(1.0)

    def _nose(self, skin: torch.Tensor) -> None:
        """Paint the nose as a cone from the bridge to the tip, and add it to the silhouette."""
        of, x, y = self.lengths, self.x, self.y
        along_x, along_y = of["tip_x"] - of["bridge_x"], of["tip_y"] - of["bridge_y"]
        squared = along_x.square() + along_y.square() + 1e-3
        from_x, from_y = x - of["bridge_x"], y - of["bridge_y"]
        place = ((from_x * along_x + from_y * along_y) / squared).clamp_(0.0, 1.0)
        off_x, off_y = from_x - place * along_x, from_y - place * along_y
        radius = place * (0.34 * of["nose_width"]) + 0.05
        away = torch.hypot(off_x, off_y)
        cone = coverage(away - radius, 0.05 + self.edge)
        visible = (place * 1.5).clamp_(max=1.0).mul_(cone)

        wings = []
        for name in ("left_wing", "right_wing"):
            wing_x, wing_y = x - of[f"{name}_x"], y - of[f"{name}_y"]
            wings.append(torch.hypot(wing_x, wing_y * 1.25) - 0.30 * of["nose_width"])
        wing = coverage(torch.minimum(*wings), 0.03 + self.edge)
        bump = torch.maximum(visible, wing)
        self.solid = torch.maximum(self.solid, bump)

        # a round body: lit on the side of the light, dark below
        strength = self.conditions["light_strength"]
        round_x, round_y = off_x / radius, off_y / radius
        lit = round_x * (0.20 * strength * self.light[0]) + round_y * (
            0.34 * strength * self.light[1] - 0.16
        )
        self.shade.mul_(lit.clamp_(-0.35, 0.25).mul_(visible).add_(1.0))
        rim = (bump * (1.0 - bump)).mul_(-0.42).add_(1.0)
        self.shade.mul_(rim)
        paint(skin, bump.mul_(0.85), self.colours["skin"])

        holes = [
            torch.hypot(
                x - 0.5 * (of["tip_x"] + of[f"{name}_x"]),
                (y - 0.5 * (of["tip_y"] + of[f"{name}_y"]) - 0.28 * of["nose_width"]) * 1.6,
            )
            for name in ("left_wing", "right_wing")
        ]
        hole = torch.minimum(*holes) - 0.13 * of["nose_width"]
        paint(skin, coverage(hole, 0.02 + self.edge).mul_(0.75), 0.3 * self.colours["skin"])

    def _glasses(self, skin: torch.Tensor) -> None:
        worn = self.conditions["glasses"].clamp(0.0, 1.0)
        if not bool((worn > 0.0).any()):
            return
        of = self.lengths
        rows = self.rows["eyes"]
        across, down = self.across[:, rows], self.v[:, rows] - of["eye_y"] - 0.03
        lens = torch.hypot(
            (across - of["eye_x"]) * 0.80, down / self.conditions["glasses_height"]
        ).sub_(0.235)
        bridge = torch.maximum((across - of["eye_x"]).clamp_(min=0.0), (down + 0.05).abs())
        inside = coverage(lens, self.edge) * (self.conditions["glasses_tint"] * worn)
        dark = torch.full_like(self.colours["skin"], 0.07)
        paint(skin[:, :, rows], inside, dark)
        frame = torch.minimum(lens.abs_(), bridge + 0.1 * (across > of["eye_x"])).sub_(0.022)
        side = torch.maximum((down + 0.03).abs(), of["eye_x"] + 0.26 - across).sub_(0.022)
        side = torch.where(across < 5.0, side, 1.0)
        paint(skin[:, :, rows], coverage(torch.minimum(frame, side), self.edge) * worn, dark)

    def _hair(self, skin: torch.Tensor) -> None:
        """Paint the hair on the skull, a little larger than the head, and ears beside it."""
        of = self.lengths
        wave = torch.sin(self.u * 9.0 + of["parting"] * 20.0).mul_(0.025)
        line = of["hairline"] + of["parting"] * 0.30 * self.u + 0.5 * self.u.square() + wave
        top = self.v - line
        # the back of the head is covered down to the neck
        back = torch.maximum(self.front + 0.10, self.v - 0.75)
        edge = 0.05 + self.edge
        cap = coverage(torch.minimum(top, back), edge)
        height = (-self.v / of["length"]).clamp_(0.0, 1.0)
        grown = self.outside - (of["hair_volume"] - 1.0) * (0.4 + 0.8 * height)
        cap.mul_(coverage(grown, edge))

        near = torch.maximum(-of["left_ear_z"], -of["right_ear_z"])
        name = torch.where(
            of["left_ear_z"] > of["right_ear_z"], of["left_ear_x"], of["right_ear_x"]
        )
        ear = torch.hypot((self.x - name) * 1.5, self.y - of["left_ear_y"]) - of["ear"]
        bare = (1.6 - 2.0 * of["hair_length"]).clamp(0.0, 1.0) * (-near * 3.0 - 0.6).clamp(0.0, 1.0)
        self.solid = torch.maximum(self.solid, cap)
        paint(skin, cap, self.colours["hair"])
        strands = torch.sin(self.u * 55.0 + self.v * 14.0).mul_(0.07).mul_(cap)
        self.shade.add_(strands)
        ear = coverage(ear, self.edge).mul_(bare)
        paint(skin, ear, 0.92 * self.colours["skin"])
        self.solid = torch.maximum(self.solid, ear)

    def _worn(self, skin: torch.Tensor) -> None:
        """Paint a hat and a mask over mouth and nose."""
        of, shape = self.lengths, self.colours["skin"]
        hat, mask = (self.conditions[name].clamp(0.0, 1.0) for name in ("hat", "mask"))
        if bool((hat > 0.0).any()):
            brim = self.v - (of["hairline"] * 0.6 + of["eye_y"] * 0.4 + 0.02) - 0.10 * self.u**2
            cap = torch.maximum(brim, self.outside - 0.16)
            cap = coverage(cap, self.edge) * hat
            self.solid = torch.maximum(self.solid, cap)
            paint(skin, cap, self.colours["hat"].expand_as(shape))
        if bool((mask > 0.0).any()):
            edge = 0.5 * (of["bridge_y"] + of["tip_y"]) + 0.10
            cover = torch.maximum(edge + 0.25 * self.across.clamp(max=1.0) - self.v, -self.front)
            cover = coverage(cover, self.edge) * mask * self.solid
            paint(skin, cover, self.colours["mask"])

    def _occluder(self, image: torch.Tensor) -> None:
        """Hold something before the face: a bar of any direction."""
        there = self.conditions["occluder"].clamp(0.0, 1.0)
        if not bool((there > 0.0).any()):
            return
        angle = torch.deg2rad(self.conditions["occluder_angle"])
        x = self.x - self.conditions["occluder_x"]
        y = self.y - self.conditions["occluder_y"]
        bar = (torch.cos(angle) * x + torch.sin(angle) * y).abs_() - 0.16
        end = torch.cos(angle) * y - torch.sin(angle) * x
        bar = torch.maximum(bar, -end - 0.6)
        paint(image, coverage(bar, self.edge) * there, self.colours["occluder"])
