"""How much memory a run needs, estimated before it starts."""

import contextlib
import copy
import os

import torch
from torch import nn

from ..faces import FACE_SIZE
from ..files import SynthDistillError
from ..recognition.student import count_parameters
from .options import Options


def check_memory(options: Options, device: torch.device, student: nn.Module) -> None:
    """Refuse a batch that cannot fit, before the system is brought to its knees."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[1]
    needed = sum(estimate_memory(options, student).values())
    if needed > available:
        raise SynthDistillError(
            f"this batch needs about {needed / 2**30:,.0f} GiB for the student alone, there are "
            f"{available / 2**30:,.0f}: lower --micro-batch-size or --batch-size."
        )


def estimate_memory(options: Options, student: nn.Module, *frozen: nn.Module) -> dict[str, int]:
    """Estimate the bytes that a process needs, by what needs them."""
    share = options.batch_size // (options.devices * options.num_nodes)
    part = min(options.micro_batch_size or share, share)
    return {
        "student, gradients, Adam": 16 * count_parameters(student),
        "student activations": activation_bytes(student, part),
        "latents": 3 * 4 * options.batch_size * 512,
        "generator and teacher": sum(
            t.nbytes for network in frozen for t in network.state_dict().values()
        ),
    }


def activation_bytes(student: nn.Module, batch: int) -> int:
    """Count, without computing, the bytes that autograd saves in a pass of ``batch`` faces."""
    sketch = copy.deepcopy(student).to("meta").train()
    weights = {id(p) for p in sketch.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in weights:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    # some networks of others cannot be sketched: then nothing is known
    with contextlib.suppress(Exception), torch.autograd.graph.saved_tensors_hooks(keep, keep):
        sketch(torch.empty(batch, 3, FACE_SIZE, FACE_SIZE, device="meta"))
    return sum(tensor.nbytes for tensor in kept.values())
