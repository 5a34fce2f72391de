"""Behind `better`: faces are blended with others of their batch; the teacher sees the mixture."""

from collections.abc import Callable

import torch

from bob.paper.ijcb2023_synthdistill.distillation.augmentation import create_augmentation

_usual = create_augmentation("geometry+colour+sharpness+occlusion")


def augmentation(faces: torch.Tensor, uniform: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """Take up to half of each face from another one."""
    share = uniform(1).view(-1, 1, 1, 1) / 2
    return _usual(torch.lerp(faces, faces.flip(0), share), uniform)
