"""What a face has: cheeks, wrinkles, beard, eyes, mouth, nose, ears and hair, painted on a head."""

import torch

from .drawing import coverage, paint
from .head import Point
from .surface import Surface


def skin(on: Surface) -> None:
    """Paint cheeks, wrinkles, a mole and the beard."""
    of, u, v, across = on.of, on.u, on.v, on.across
    cheek = torch.hypot(across - 0.52, v - of.nose_y + 0.02).mul_(-2.6).add_(1.0)
    paint(on.skin, cheek.clamp_(0.0, 0.6), on.colour.blush)

    # forehead lines, and the fold from the nose to the corner of the mouth
    forehead = (of.eye_y - 0.30 - v).clamp(0.0, 0.1) * (0.62 - across).clamp_(0.0, 0.1)
    lines = torch.sin((v + 0.08 * u.square()) * 46.0).mul_(forehead).mul_(34.0)
    reach = v - of.nose_y
    fold = across - (0.5 * of.nose_width + 0.09) - 0.42 * reach
    fold = (0.05 - fold.abs()).clamp_(min=0.0) * (0.23 - (reach - 0.16).abs()).clamp_(0.0, 0.2)
    wrinkles = fold.mul_(75.0).add_(lines.clamp_(min=0.0)).mul_(of.wrinkles)
    on.shade.mul_(wrinkles.clamp_(max=1.0).mul_(-0.5).add_(1.0))

    mole = torch.hypot(u - of.mole_x, v - of.mole_y) - of.mole_size
    visible = (on.front > 0.0) & (of.mole_size > 0.005)
    paint(on.skin, coverage(mole, on.edge) * visible, on.colour.mole)

    top = of.mouth_y - 0.02 - 0.55 * (across.clamp(max=1.0) - 0.30).clamp_(min=0.0)
    bare = torch.hypot(u, (v - of.mouth_y) * 1.5) - of.mouth_width * 0.9
    beard = coverage(torch.maximum(top - v, -bare), 0.12 + on.edge)
    moustache = torch.hypot(u * 0.36, v - of.mouth_y + of.lips + 0.05) - 0.09
    beard = torch.maximum(beard, coverage(moustache, 0.06 + on.edge))
    paint(on.skin, beard.mul_(of.beard.clamp(max=0.85)), on.colour.beard)


def eyes(on: Surface) -> None:
    """Paint eyes and brows; both at once, since the head's frame is symmetric."""
    of, edge = on.of, on.edge
    on = on.rows(24, 78)
    side, down = on.across - of.eye_x, on.v - of.eye_y
    tilted = down + of.eye_tilt * side
    profile = (1.0 - (side / of.eye_width).square()).clamp_(min=-1.0)
    lid = tilted.abs() - of.eye_height * profile
    socket = torch.hypot(side * 0.7, down + 0.05) - 0.16
    on.shade.mul_(coverage(socket, 0.16 + edge).mul_(-0.16).add_(1.0))
    opening = coverage(lid, edge)
    crease = coverage((lid - 0.012).abs_().sub_(0.024), edge)
    # the upper lid is dark with lashes, the lower one hardly
    crease.mul_((tilted * -9.0).clamp_(-0.45, 0.45).add_(0.5))
    paint(on.skin, opening, 0.93)

    gaze = torch.where(on.u > 0.0, on.photo.gaze, -on.photo.gaze)
    radius = torch.hypot(side - 0.12 * gaze, tilted + 0.012)
    paint(on.skin, coverage(radius - of.iris, edge).mul_(opening), on.colour.iris)
    paint(on.skin, coverage(radius - 0.42 * of.iris, edge).mul_(opening), 0.04)
    glint = torch.hypot(side + 0.03, tilted + 0.045) - 0.022
    paint(on.skin, coverage(glint, edge).mul_(opening), 1.0)
    paint(on.skin, crease, 0.22 * on.colour.skin)

    along = side / of.brow_width
    arch = down + of.brow_y + of.brow_angle * side - 0.10 * along.square()
    taper = of.brow_thickness * (1.15 - 0.4 * along)
    brow = torch.maximum(arch.abs_() - taper, (along.abs_() - 1.0) * 0.2)
    paint(on.skin, coverage(brow, 0.03 + edge).mul_(0.9), on.colour.brow)


def mouth(on: Surface) -> None:
    """Paint lips, what is between them, and the shadow below."""
    of, edge, gap = on.of, on.edge, on.of.mouth_gap
    on = on.rows(64, 1e6)
    along = (on.across / of.mouth_width).square_().clamp_(max=4.0)
    narrow = 1.0 - along
    down = on.v - of.mouth_y + of.mouth_bend * along
    lips = down.abs() - (of.lips + gap) * narrow
    paint(on.skin, coverage(lips, edge), on.colour.lip)
    inner = down.abs() - (gap * narrow + 0.012)
    inner = coverage(torch.maximum(inner, (along - 0.96) * 0.2), edge)
    paint(on.skin, inner, 0.25 * on.colour.lip)
    paint(on.skin, coverage(down - 0.2 * gap, edge).mul_(inner).mul_(gap > 0.02), 0.88)
    chin = torch.hypot(on.across, (on.v - of.mouth_y - of.lips - gap - 0.07) * 2.4) - 0.12
    on.shade.mul_(coverage(chin, 0.2 + edge).mul_(-0.15).add_(1.0))


def nose(on: Surface) -> None:
    """Paint the nose as a cone from the bridge to the tip, and add it to the silhouette."""
    of, width = on.of, on.of.nose_width
    along_x, along_y = of.tip.x - of.bridge.x, of.tip.y - of.bridge.y
    from_x, from_y = on.x - of.bridge.x, on.y - of.bridge.y
    squared = along_x.square() + along_y.square() + 1e-3
    place = ((from_x * along_x + from_y * along_y) / squared).clamp_(0.0, 1.0)
    off_x, off_y = from_x - place * along_x, from_y - place * along_y
    radius = place * (0.34 * width) + 0.05
    cone = coverage(torch.hypot(off_x, off_y) - radius, 0.05 + on.edge)
    visible = (place * 1.5).clamp_(max=1.0).mul_(cone)
    wings = [
        torch.hypot(on.x - wing.x, (on.y - wing.y) * 1.25) - 0.30 * width
        for wing in (of.left_wing, of.right_wing)
    ]
    bump = torch.maximum(visible, coverage(torch.minimum(*wings), 0.03 + on.edge))
    on.solid = torch.maximum(on.solid, bump)

    # a round body: lit on the side of the light, dark below
    strength = on.photo.light_strength
    lit = (off_x / radius) * (0.20 * strength * on.light[0]) + (off_y / radius) * (
        0.34 * strength * on.light[1] - 0.16
    )
    on.shade.mul_(lit.clamp_(-0.35, 0.25).mul_(visible).add_(1.0))
    on.shade.mul_((bump * (1.0 - bump)).mul_(-0.42).add_(1.0))
    paint(on.skin, bump.mul_(0.85), on.colour.skin)

    holes = [
        torch.hypot(
            on.x - 0.5 * (of.tip.x + wing.x),
            (on.y - 0.5 * (of.tip.y + wing.y) - 0.28 * width) * 1.6,
        )
        for wing in (of.left_wing, of.right_wing)
    ]
    hole = coverage(torch.minimum(*holes) - 0.13 * width, 0.02 + on.edge)
    paint(on.skin, hole.mul_(0.75), 0.3 * on.colour.skin)


def hair(on: Surface) -> None:
    """Paint the hair on the skull, a little larger than the head, and the ear beside it."""
    of, u, v = on.of, on.u, on.v
    wave = torch.sin(u * 9.0 + of.parting * 20.0).mul_(0.025)
    top = v - (of.hairline + of.parting * 0.30 * u + 0.5 * u.square() + wave)
    # the back of the head is covered down to the neck
    back = torch.maximum(on.front + 0.10, v - 0.75)
    cap = coverage(torch.minimum(top, back), 0.05 + on.edge)
    height = (-v / of.length).clamp_(0.0, 1.0)
    grown = on.outside - (of.hair_volume - 1.0) * (0.4 + 0.8 * height)
    cap.mul_(coverage(grown, 0.05 + on.edge))
    on.solid = torch.maximum(on.solid, cap)
    paint(on.skin, cap, on.colour.hair)
    on.shade.add_(torch.sin(u * 55.0 + v * 14.0).mul_(0.07).mul_(cap))

    left, right = of.left_ear, of.right_ear
    turned = -torch.maximum(-left.z, -right.z)
    near = Point(torch.where(left.z > right.z, left.x, right.x), left.y, turned)
    bare = (1.6 - 2.0 * of.hair_length).clamp(0.0, 1.0) * (near.z * 3.0 - 0.6).clamp(0.0, 1.0)
    visible = coverage(ear(on, near, 1.5), on.edge).mul_(bare)
    paint(on.skin, visible, 0.92 * on.colour.skin)
    on.solid = torch.maximum(on.solid, visible)


def ear(on: Surface, at: Point, slim: float) -> torch.Tensor:
    """Measure the distance to an ear, ``[B, H, W]``."""
    return torch.hypot((on.x - at.x) * slim, on.y - at.y) - on.of.ear
