"""``synthdistill-export``: a student for onnxruntime, phones and the hub."""

import logging
from pathlib import Path
from typing import Any

import click

from ..machine import wait_briefly
from . import PATH, command, json_option, network_option


@command(
    "synthdistill-export results/tinyfar-a -o exported",
    "synthdistill-export student.safetensors -o exported --generator stylegan2-ffhq-256x256.pkl",
    "bob bio pipeline simple -d lfw -p exported/pipeline_int8.py -o exported/int8/lfw",
)
@click.argument("source", metavar="RUN_OR_STUDENT", type=PATH)
@click.option("-o", "--output", "folder", required=True, type=PATH, help="The export folder.")
@click.option("--normalise/--raw", help="Whether the file gives its embeddings the length 1.")
@click.option("--int8/--no-int8", default=True, help="Also write model.int8.onnx.")
@click.option(
    "--generator",
    type=PATH,
    help="Whose faces calibrate the 8 bits.  [default: the run's]",
)
@click.option(
    "--calibration-faces", default=256, type=click.IntRange(1, 10_000), help="How many of them."
)
@network_option
@click.option("--latency", is_flag=True, help="Time torch, ONNX and 8 bits, for the card.")
@click.option("--force", is_flag=True, help="Replace the export that is in the folder.")
@json_option(help="Print config.json.")
def export(source: Path, folder: Path, force: bool, as_json: bool, **options: Any) -> None:
    """Write a student as ONNX, in float32 and in 8 bits, with a model card.

    RUN_OR_STUDENT is a run folder or a student's file. The folder gets model.onnx (pixels in,
    embeddings out, any batch size, compared with torch before it is kept), model.int8.onnx
    (calibrated on generated faces), model.safetensors, config.json, README.md (the model card,
    with accuracies and thresholds of the score files in the run folder), and a pipeline.py for Bob
    of each ONNX file.
    """
    import json

    wait_briefly()
    from ..deployment.folder import Source, check_folder
    from ..deployment.folder import export as run
    from ..evaluation.terminal import say

    logger = logging.getLogger("bob.paper.ijcb2023_synthdistill.deployment")
    logger.handlers = [handler := logging.StreamHandler()]
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.setLevel(logging.INFO)
    check_folder(folder, force)
    config = run(Source.find(source), folder, **options)
    say(json.dumps(config, indent=2) if as_json else describe(folder, config))


def describe(folder: Path, config: dict[str, Any]) -> str:
    """Tell sizes and times, a line for each file."""
    lines = [
        f"{folder}: {config['architecture']}, {config['parameters'] / 1e6:.2f} M parameters, "
        f"{config['multiply_adds'] / 1e6:.1f} M multiply-adds"
    ]
    times = config.get("latency", {}).get("ms", {})
    for name, file in config["files"].items():
        told = [f"{name:18}{file['bytes'] / 1e6:7.2f} MB"]
        for threads, ms in times.get("torch" if name.endswith("safetensors") else name, {}).items():
            plural = "s" * (threads != "1")
            told.append(
                f"{ms['median']:.2f} ms (95 %: {ms['p95']:.2f}) with {threads} thread{plural}"
            )
        lines.append("  " + ", ".join(told))
    return "\n".join(lines)
