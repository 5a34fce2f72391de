"""A student of the tests' own: others must be able to import it by its name."""

import torch


class Tiny(torch.nn.Sequential):
    """A student of two convolutions with batch norm, or with a norm of each image."""

    def __init__(self, batch_norm=True):
        def norm(channels):
            return torch.nn.BatchNorm2d(channels) if batch_norm else torch.nn.GroupNorm(1, channels)

        super().__init__(
            torch.nn.Conv2d(3, 8, 3, stride=4, bias=False),
            norm(8),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 16, 3, stride=4, bias=False),
            norm(16),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(64, 512),
        )
