"""``synthdistill-benchmark``: time an iteration of the training, phase by phase."""

from pathlib import Path
from typing import Any

import click


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

    \b
    synthdistill-benchmark
    synthdistill-benchmark --compare plain --precision bf16 --batch-size 16
    synthdistill-benchmark --device cuda --batch-size 128 --json
""",
)
@click.option("--batch-size", type=click.IntRange(1), help="Default: 8, on CUDA 128.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="32, bf16, 16 or auto, as for synthdistill-train.",
)
@click.option(
    "--compare",
    type=click.Choice(["plain"]),
    help="Time the plain path as well, in turns with the fast one, and print the ratio.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--iterations", type=click.IntRange(1), default=3, show_default=True, help="Timed iterations."
)
@click.option(
    "--warmup", type=click.IntRange(0), default=1, show_default=True, help="Iterations before."
)
@click.option(
    "--generator",
    type=click.Path(path_type=Path),
    help="A StyleGAN2 file. Default: random weights, of the size of the paper's.",
)
@click.option(
    "--teacher",
    type=click.Path(path_type=Path),
    help="An IResNet file. Default: iresnet100 with random weights.",
)
@click.option(
    "--student", default="tinyfar-a", show_default=True, help="Its weights are always random."
)
@click.option("--plain", is_flag=True, help="Time the plain path instead of the fast one.")
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=False,
    show_default=True,
    help="Compile the networks in the warm-up, as synthdistill-train --compile does.",
)
def benchmark(
    batch_size: int | None,
    iterations: int,
    warmup: int,
    compare: str | None,
    as_json: bool,
    compiled: bool,
    **values: Any,
) -> None:
    """Time one training iteration by phase: a fresh and a re-sampled batch, two updates.

    The table gives each phase's time, its share, and its floor: the time that follows from its
    operations and bytes and from what this machine was just measured to do at most.
    """
    import json

    from ..distillation.benchmark import format_table, run_benchmark

    settings = {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}
    settings["batch_size"] = batch_size or _usual_batch(settings["device"])
    settings["compile"] = compiled
    _check(settings)
    report = run_benchmark(settings, iterations, warmup, compare)
    click.echo(json.dumps(report, indent=2) if as_json else format_table(report))


def _usual_batch(device: str) -> int:
    """Choose what the device can hold: the paper's batch, or a small one for a CPU."""
    import torch

    return 128 if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else 8


def _check(settings: dict[str, Any]) -> None:
    """Refuse mistakes before a process is started."""
    from ..distillation.networks import create_fabric, find_files
    from ..distillation.options import Options

    options = Options(**settings)
    settings["precision"] = options.precision
    create_fabric(options)
    given = {name: settings[name] for name in ("generator", "teacher") if settings[name]}
    if given:
        # find_files would ask the user's configuration for a missing one: not here
        both = {"generator": next(iter(given.values())), "teacher": next(iter(given.values()))}
        find_files(Options(**{**settings, **both, **given}))
