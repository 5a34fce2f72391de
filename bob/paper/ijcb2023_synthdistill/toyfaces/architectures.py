"""The architectures of the shipped networks: what the scripts build and the tests expect."""

TEACHER = {"layers": (1, 1, 1, 1), "widths": (8, 16, 32, 64), "embedding_size": 512}
"""Of :py:class:`~bob.paper.ijcb2023_synthdistill.recognition.iresnet.IResNet`."""

GENERATOR = {
    "z_dim": 52,
    "w_dim": 104,
    "resolution": 64,
    "channel_base": 2048,
    "channel_max": 96,
    "mapping_layers": 1,
    "mapping_multiplier": 1.0,
    "conv_clamp": None,
}
"""Of :py:class:`~bob.paper.ijcb2023_synthdistill.generators.stylegan2.Generator`."""
