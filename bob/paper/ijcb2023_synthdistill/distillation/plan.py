"""What a run will be, told before it starts: ``synthdistill-train --dry-run``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..faces import FACE_SIZE
from .networks import create_student, load_networks
from .options import Options


def describe_plan(options: Options, output: Path, configs: Sequence[str]) -> str:
    """Describe the resolved run: options, networks, images, steps and memory.

    Parameters
    ----------
    options
        With the paths of its files.
    output
        The run folder.
    configs
        The configs it was resolved from.

    Returns
    -------
        Lines of text.
    """
    student = create_student(options)
    share = options.batch_size // (options.devices * options.num_nodes)
    part = min(options.micro_batch_size or share, share)
    lines = [_line("run folder", output), _line("configs", " ".join(configs) or "-")]
    described = options.describe()
    lines += [_line(f.name, described[f.name]) for f in dataclasses.fields(options)]
    lines.append("")
    parameters = sum(p.numel() for p in student.parameters())
    memory = {
        "student, gradients, Adam": 16 * parameters,
        "student activations": activation_bytes(student, part),
    }
    if options.method == "distillation":
        generator, teacher = load_networks(options)
        memory["generator"] = _bytes(generator)
        memory["teacher"] = _bytes(teacher)
        # input, output and one intermediate of the widest layer, float32
        memory["generation"] = 3 * 4 * part * _widest(generator)
        lines += [
            _line("generator", f"{_count(generator):,} parameters, {generator.resolution} px"),
            _line("teacher", f"{_count(teacher):,} parameters"),
        ]
    per_epoch = options.iterations_per_epoch
    parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in memory.items())
    lines += [
        _line("student", f"{parameters:,} parameters"),
        _line("images", f"{options.images:,} (half fresh, half re-sampled)"),
        _line("iterations", f"{options.iterations:,} ({per_epoch:,} an epoch)"),
        _line("optimizer steps", f"{2 * options.iterations:,}"),
        _line("memory, estimated", f"{sum(memory.values()) / 2**20:,.0f} MiB a device: {parts}"),
    ]
    return "\n".join(lines)


def _line(name: str, value: object) -> str:
    return f"{name:24}{value}"


def activation_bytes(student: nn.Module, batch: int) -> int:
    """Count the bytes that the student keeps for the backward pass, without computing anything.

    Parameters
    ----------
    student
        From faces to embeddings.
    batch
        Images in a batch.

    Returns
    -------
        Bytes of all tensors that autograd saves in one forward pass, parameters left out.
    """
    weights = {id(p) for p in student.parameters()}
    seen: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in weights:
            seen[tensor.untyped_storage()._cdata] = tensor.numel() * tensor.element_size()
            kept.append(tensor)
        return tensor

    copy = student.to("meta")
    weights |= {id(p) for p in copy.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        copy.train()(torch.empty(batch, 3, FACE_SIZE, FACE_SIZE, device="meta"))
    return sum(seen.values())


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _bytes(network: nn.Module) -> int:
    tensors = [*network.parameters(), *network.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)


def _widest(generator: nn.Module) -> int:
    """Give the elements of the generator's widest activation for one image."""
    widest = 0
    for name, tensor in generator.named_buffers():
        # a layer's constant noise has the layer's resolution, its weight the channels
        if name.endswith("noise_const"):
            weight = generator.get_parameter(name.replace("noise_const", "weight"))
            widest = max(widest, tensor.numel() * max(weight.shape[:2]))
    return widest
