"""What a run will be and need, told before it starts: ``synthdistill-train --dry-run``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import SynthDistillError
from ..recognition.student import count_parameters
from .networks import choose_device, create_student, load_networks, student_bytes
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
        weights = sum(4 * count_parameters(n) for n in networks.values())
        needed = (weights + student_bytes(options, networks["student"])) / 2**20
        lines.append(("memory, at least", f"{needed:,.0f} MiB a device"))
    lines += [
        ("images", f"{options.images:,} (half fresh, half re-sampled)"),
        ("iterations", f"{options.iterations:,} ({options.iterations_per_epoch:,} an epoch)"),
        ("optimizer steps", f"{2 * options.iterations:,}"),
        *(("missing", words) for words in missing),
    ]
    return "\n".join(f"{name:24}{value}" for name, value in lines)
