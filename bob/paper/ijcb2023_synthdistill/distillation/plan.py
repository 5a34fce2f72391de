"""What a run will be, told before it starts: ``synthdistill-train --dry-run``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import SynthDistillError
from ..recognition.student import count_parameters
from .memory import estimate_memory
from .networks import choose_device, create_student, load_networks
from .options import Options, find_file


def describe_plan(options: Options, output: Path, configs: Sequence[str]) -> str:
    """Describe the resolved run: options, networks, images, steps and memory.

    It needs no weights: what is missing is named.
    """
    missing = []
    networks: dict[str, Any] = {}
    if options.method == "distillation":
        found = {}
        for name in ("generator", "teacher"):
            try:
                found[name] = find_file(name, getattr(options, name))
            except SynthDistillError as error:
                missing.append(error.message)
        options = dataclasses.replace(options, **found)
        if not missing:
            networks["generator"], networks["teacher"] = load_networks(options)
    try:
        networks["student"] = create_student(options)
    except SynthDistillError as error:
        missing.append(error.message)

    lines: list[tuple[str, object]] = [("run folder", output), ("configs", " ".join(configs))]
    lines += (options.describe() | {"device": choose_device(options.device)}).items()
    lines.append(("", ""))
    lines += [(name, f"{count_parameters(n):,} parameters") for name, n in networks.items()]
    if not missing:
        needed = estimate_memory(options, networks.pop("student"), *networks.values())
        parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in needed.items())
        total = f"{sum(needed.values()) / 2**20:,.0f} MiB a device: {parts}"
        lines.append(("memory, estimated", total))
    lines += [
        ("images", f"{options.images:,} (half fresh, half re-sampled)"),
        ("iterations", f"{options.iterations:,} ({options.iterations_per_epoch:,} an epoch)"),
        ("optimizer steps", f"{2 * options.iterations:,}"),
        *(("missing", words) for words in missing),
    ]
    return "\n".join(f"{name:24}{value}" for name, value in lines)
