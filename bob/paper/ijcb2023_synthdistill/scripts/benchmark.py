"""``synthdistill-benchmark``: time an iteration of the training, phase by phase."""

from pathlib import Path
from typing import Any

import click

from ..machine import wait_briefly


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
@click.option("--autocast", is_flag=True, help="Compute the student in this precision, too.")
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
    help="Compile the networks in the warm-up.",
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

    The table gives each phase's time, its share, and its roofline: the time that follows from its
    operations and bytes and from what this machine was just measured to do at most.
    """
    import json

    wait_briefly()
    import torch

    from ..distillation.benchmark import format_table, run_benchmark
    from ..distillation.networks import create_fabric
    from ..distillation.options import Options, find_file

    for name in ("generator", "teacher"):
        if values[name] is not None:
            values[name] = str(find_file(name, values[name]))
    # what the device can hold: the paper's batch, or a small one for a CPU
    cuda = values["device"] == "cuda" or (values["device"] == "auto" and torch.cuda.is_available())
    settings = {**values, "batch_size": batch_size or (128 if cuda else 8), "compile": compiled}
    options = Options(**settings)
    create_fabric(options)
    settings["precision"] = options.precision
    report = run_benchmark(settings, iterations, warmup, compare is not None)
    click.echo(json.dumps(report, indent=2) if as_json else format_table(report))
