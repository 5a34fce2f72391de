"""``synthdistill-benchmark``: time an iteration of the training, phase by phase."""

from typing import Any

import click

from ..machine import wait_briefly
from . import PATH, command, json_option
from .train import run_options


@command(
    "synthdistill-benchmark",
    "synthdistill-benchmark --compare plain --precision bf16 --batch-size 16",
    "synthdistill-benchmark --device cuda --batch-size 128 --json",
)
@run_options("device", "precision", "autocast", "plain", "compile")
@click.option("--batch-size", type=int, help="Default: 8, on CUDA 128.")
@click.option("--student", default="tinyfar-a", help="Its weights are always random.")
@click.option(
    "--generator",
    type=PATH,
    help="A StyleGAN2 file. Default: random weights, of the size of the paper's.",
)
@click.option(
    "--teacher", type=PATH, help="An IResNet file. Default: iresnet100 with random weights."
)
@click.option("--iterations", type=click.IntRange(1), default=3, help="Timed iterations.")
@click.option("--warmup", type=click.IntRange(0), default=1, help="Iterations before.")
@click.option(
    "--compare",
    type=click.Choice(["plain"]),
    help="Time the plain path as well, in turns with the fast one, and print the ratio.",
)
@json_option(help="Print one JSON object.")
def benchmark(
    iterations: int, warmup: int, compare: str | None, as_json: bool, **values: Any
) -> None:
    """Time one training iteration by phase: a fresh and a re-sampled batch, two updates.

    The table gives each phase's time, its share, and its roofline: the time that follows from its
    operations and bytes and from what this machine was just measured to do at most.
    """
    import json

    wait_briefly()
    from ..distillation.benchmark import format_table, run_benchmark
    from ..distillation.networks import choose_device
    from ..distillation.options import Options, find_file

    for name in ("generator", "teacher"):
        if values[name] is not None:
            values[name] = str(find_file(name, values[name]))
    if values["batch_size"] is None:  # what the device can hold: the paper's, or a small one
        values["batch_size"] = 128 if choose_device(values["device"]) == "cuda" else 8
    options = Options(**values, initialisation="random")
    report = run_benchmark(options, iterations, warmup, compare is not None)
    click.echo(json.dumps(report, indent=2) if as_json else format_table(report))
