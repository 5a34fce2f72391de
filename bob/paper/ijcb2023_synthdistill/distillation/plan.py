"""What a run will be, told before it starts: ``synthdistill-train --dry-run``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import SynthDistillError
from ..recognition.student import count_parameters
from .memory import estimate_memory
from .networks import choose_device, create_student, find_file, load_networks
from .options import Options


def describe_plan(options: Options, output: Path, configs: Sequence[str]) -> str:
    """Describe the resolved run: options, networks, images, steps and memory.

    It needs no weights: what is missing is named.
    """
    missing = []
    found: dict[str, Any] = {}
    if options.method == "distillation":
        for name in ("generator", "teacher"):
            try:
                found[name] = find_file(name, getattr(options, name))
            except SynthDistillError as error:
                missing.append(error.message)
    options = dataclasses.replace(options, **found)
    networks = {}
    if len(found) == 2:
        networks = dict(zip(("generator", "teacher"), load_networks(options), strict=True))
    try:
        networks["student"] = create_student(options)
    except SynthDistillError as error:
        missing.append(error.message)

    lines = [_line("run folder", output), _line("configs", " ".join(configs) or "-")]
    described = options.describe() | {"device": choose_device(options.device)}
    lines += [_line(name, value) for name, value in described.items()]
    lines.append("")
    for name, network in networks.items():
        lines.append(_line(name, f"{count_parameters(network):,} parameters"))
    if not missing:
        needed = estimate_memory(options, networks.pop("student"), *networks.values())
        parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in needed.items())
        total = sum(needed.values()) / 2**20
        lines.append(_line("memory, estimated", f"{total:,.0f} MiB a device: {parts}"))
    lines += [
        _line("images", f"{options.images:,} (half fresh, half re-sampled)"),
        _line("iterations", f"{options.iterations:,} ({options.iterations_per_epoch:,} an epoch)"),
        _line("optimizer steps", f"{2 * options.iterations:,}"),
        *(_line("missing", words) for words in missing),
    ]
    return "\n".join(lines)


def _line(name: str, value: object) -> str:
    return f"{name:24}{value}"
