"""AdaFace's networks (IR-50, IR-101): our IResNet under other names.

They take BGR in [-1, 1]. Where a stage keeps the number of channels, as the first does, their
shortcut takes every second pixel; in ours it is a convolution, here by the identity.
"""

import torch

from ..weights import State
from .iresnet import norm_without_statistics

NAMES = {
    "input_layer.0": "conv1",
    "input_layer.1": "bn1",
    "input_layer.2": "prelu",
    "output_layer.0": "bn2",
    "output_layer.3": "fc",
    "output_layer.4": "features",
}
BLOCK = {
    "res_layer.0": "bn1",
    "res_layer.1": "conv1",
    "res_layer.2": "bn2",
    "res_layer.3": "prelu",
    "res_layer.4": "conv2",
    "res_layer.5": "bn3",
    "shortcut_layer.0": "downsample.0",
    "shortcut_layer.1": "downsample.1",
}
"""Their names and ours, of the whole network and within each block."""


def rename(state: State) -> State | None:
    """Give the tensors of AdaFace's network our names; None if they are of another network.

    What a checkpoint holds beside the network, such as the classes' centres, is left out.
    """
    first = next((name for name in state if name.endswith("input_layer.0.weight")), None)
    if first is None:
        return None
    prefix = first.removesuffix("input_layer.0.weight")
    theirs = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    names, widths, block = dict(NAMES), [0], 0
    for index in range(len(theirs)):
        weight = theirs.get(f"body.{index}.res_layer.1.weight")
        if weight is None:
            break
        # a stage begins where the number of channels changes
        block = block + 1 if len(weight) == widths[-1] else 0
        if block == 0:
            widths.append(len(weight))
        here = f"layer{len(widths) - 1}.{block}"
        names |= {f"body.{index}.{their}": f"{here}.{our}" for their, our in BLOCK.items()}
        if block == 0 and f"body.{index}.shortcut_layer.0.weight" not in theirs:
            theirs |= _identity(f"body.{index}.shortcut_layer", weight.shape[1])
    # its last norm has statistics only
    size = len(theirs["output_layer.4.running_mean"])
    theirs = {
        "output_layer.4.weight": torch.ones(size),
        "output_layer.4.bias": torch.zeros(size),
    } | theirs
    split = ((name.rpartition("."), tensor) for name, tensor in theirs.items())
    return {f"{names.get(part, part)}.{last}": tensor for (part, _, last), tensor in split}


def _identity(name: str, channels: int) -> State:
    """Describe a 1x1 convolution and its norm that change nothing."""
    norm = norm_without_statistics(torch.ones(channels), torch.zeros(channels))
    state = {f"{name}.1.{key}": tensor for key, tensor in norm.items()}
    return {f"{name}.0.weight": torch.eye(channels)[:, :, None, None], **state}
