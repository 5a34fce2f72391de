"""IResNet: the "improved residual" network of ArcFace teachers, under the usual parameter names.

The names (``conv1``, ``bn1``, ``prelu``, ``layer1.0.bn1`` ... ``layer4.2.bn3``, ``bn2``, ``fc``,
``features``) are those of the state dicts that circulate: Bob's, nizhib/pytorch-insightface's and
InsightFace's. These differ only in the eps of the batch norms, which is a parameter here.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ..faces import FACE_SIZE

LAYERS = {
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
}
"""Number of residual blocks in each stage of the published teachers."""

WIDTHS = (64, 128, 256, 512)
"""Number of channels in each stage of the published teachers."""

EPS_BOB = 2e-5
"""Batch-norm eps of Bob's teachers, which were converted from MXNet by pytorch-insightface."""

EPS_INSIGHTFACE = 1e-5
"""Batch-norm eps of the teachers that InsightFace trains with PyTorch (arcface_torch)."""


def norm_without_statistics(weight: torch.Tensor, bias: torch.Tensor) -> dict[str, torch.Tensor]:
    """Describe a batch norm that only scales and shifts, at :py:data:`EPS_INSIGHTFACE`."""
    return {
        "weight": weight,
        "bias": bias,
        "running_mean": torch.zeros_like(weight),
        "running_var": torch.ones_like(weight) - EPS_INSIGHTFACE,
    }


class Block(nn.Module):
    """A residual block: norm, 3x3, norm, PReLU, 3x3 (strided), norm, plus the identity."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, eps: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in, eps=eps)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out, eps=eps)
        self.prelu = nn.PReLU(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out, eps=eps)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out, eps=eps),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        identity = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(x)) + identity


class IResNet(nn.Module):
    """Map aligned faces, in a teacher's own range, to embeddings.

    Each stage has a number of blocks (``layers``) and of channels (``widths``; the first is also
    that of the stem), and halves height and width. Embeddings of the same weights under
    :py:data:`EPS_BOB` and :py:data:`EPS_INSIGHTFACE` differ by up to 0.03.
    """

    def __init__(
        self,
        layers: Sequence[int],
        widths: Sequence[int] = WIDTHS,
        embedding_size: int = 512,
        eps: float = EPS_BOB,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.widths = tuple(widths)
        self.embedding_size = embedding_size
        self.eps = eps

        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0], eps=eps)
        self.prelu = nn.PReLU(widths[0])
        channels = widths[0]
        side = FACE_SIZE
        for stage, (blocks, width) in enumerate(zip(layers, widths, strict=True), start=1):
            first = Block(channels, width, 2, eps)
            rest = [Block(width, width, 1, eps) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
            channels = width
            side = (side + 1) // 2
        self.bn2 = nn.BatchNorm2d(channels, eps=eps)
        self.fc = nn.Linear(channels * side * side, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size, eps=eps)
        # the published networks keep this scale at 1 during training: fc has one already
        self.features.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute embeddings ``[B, embedding_size]``, not normalised.

        ``x`` is ``[B, 3, 112, 112]``, RGB, ``(pixel - 127.5) / 128`` for the published teachers.
        """
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(1, len(self.layers) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))
