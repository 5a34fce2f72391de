#!/usr/bin/env python
"""The method in miniature: train, evaluate and print a table in ten minutes, from nothing.

The work is Snakemake's (`snakemake -s experiments/Snakefile -c2 demo`); this tells what goes on.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from bob.paper.ijcb2023_synthdistill.scripts.export import describe

HERE = Path(__file__).parent
PATH = click.Path(path_type=Path, file_okay=False)
PLAN = """
This demo trains a small face recogniser without a single photograph, in four steps:
  1. draw     five miniatures of LFW, CALFW, CPLFW, CFP-FP and AgeDB-30, by our own renderer, in the
              real file format (.bin) and with the real structure (10 folds)
  2. train    a small generator makes faces, a teacher and a student look at them, the student
              learns the teacher's embedding: once with dynamic sampling (the paper's), once with
              static sampling, once with all that was found to help beyond the paper, and a
              student that is left as it is before any training
  3. evaluate teacher and students with Bob's PipelineSimple; each pair gets a cosine score
  4. print    the table, plots and pictures; the student goes out as ONNX, in float and in 8 bits
What is there already is not done again. Ctrl-C saves; `make demo` then goes on.
"""
LOOK = {
    "table.md": "the table (also table.tex for LaTeX, table.csv for programs)",
    "faces.png": "what the student was trained on: fresh faces over their re-sampled ones",
    "pairs.png": "pairs of the five benchmarks, with the student's scores",
    "roc-toyfaces-cfp-fp.png": "ROC curves; det-*, histogram-* and training.png likewise",
    "provenance.txt": "the files and hashes behind each number",
}
NEXT = """
These are drawn faces: the table compares methods, and says nothing about real faces.
Next, in the same miniature world:
  synthdistill-train toyfaces --loss cosine -o results/cosine    another loss, in minutes
  bob bio pipeline simple -d toyfaces-lfw -p {run}/pipeline.py -o results/out
  synthdistill-verify A B --model {exported}
  snakemake -s experiments/Snakefile -c2 table3                  another table
The real thing needs the generator, the teacher and the data sets (see README.md):
  synthdistill-fetch --check                                     what is in place, what is missing
  synthdistill-train tinyfar-a -o results/tinyfar-a              the paper's run
  snakemake -s experiments/Snakefile -n --config variant=real    what every table takes"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("settings", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("-o", "--results", default="results/demo", show_default=True, type=PATH)
@click.option("-c", "--cores", default=2, show_default=True, help="Jobs of one thread at a time.")
def demo(settings: tuple[str, ...], results: Path, cores: int) -> None:
    """Train three students without a photograph, evaluate them with Bob, print a table.

    KEY=VALUE are further settings of the Snakefile, such as options="--epochs 2".
    """
    start = time.monotonic()
    click.echo(PLAN)
    (results / "runs" / "logs").mkdir(parents=True, exist_ok=True)
    for old in (results / "runs" / "logs").glob("*.log"):
        old.unlink()
    log = results / "snakemake.log"
    words = ["-m", "snakemake", "--snakefile", str(HERE / "Snakefile"), "--cores", str(cores)]
    # trainings lock their folders themselves, and a killed demo leaves no lock to be removed
    words += ["--nolock", "--config", f"results={results}", *settings, "--"]
    words += ["demo", "pictures", "deploy"]
    with log.open("w") as stream:
        process = subprocess.Popen(  # noqa: S603 - in a session of its own: signals arrive once
            [sys.executable, *words], stdout=stream, stderr=stream, start_new_session=True
        )
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal stopped
        stopped = True
        click.echo("\nstopping, and saving what was trained ...", err=True)
        os.killpg(process.pid, signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    narrate(process, log, results / "runs" / "logs")
    if stopped:
        click.echo("saved: the same command goes on from there", err=True)
        sys.exit(130)
    if process.returncode:
        text = log.read_text(encoding="utf-8")
        click.echo(text[max(text.find("Exiting because"), text.find("Error"), 0) :], err=True)
        raise click.ClickException(f"the demo is not complete: see above, or all of it in {log}")
    click.echo("\n" + (results / "table.md").read_text(encoding="utf-8"))
    click.echo(f"Done in {time.monotonic() - start:,.0f} s. Look at:")
    for name, what in LOOK.items():
        if (results / name).is_file():
            click.echo(f"  {os.path.relpath(results / name):40} {what}")
    _, dynamic, *_ = tomllib.loads((results / "rows.toml").read_text(encoding="utf-8"))["rows"]
    exported = results / "runs" / "exported" / Path(dynamic["folders"][0]).name
    if (exported / "config.json").is_file():
        config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
        click.echo(
            f"\nThe student for onnxruntime (README.md is its model card):\n"
            f"{describe(exported, config)}"
        )
    click.echo(NEXT.format(run=dynamic["folders"][0], exported=exported))


def narrate(process: subprocess.Popen, log: Path, logs: Path) -> None:
    """Tell what Snakemake and the trainings write into their logs, until all has ended."""
    followed = [("", follow(log))]
    done = total = "?"
    ended = False
    while not ended:
        ended = process.poll() is not None
        for run, lines in followed:
            for line in iter(lines.__next__, None):
                if run:
                    click.echo(f"{run}: {line}")
                elif match := re.match(r"(?:(\d+) of|total) +(\d+)(?: steps|$)", line):
                    done, total = match[1] or "0", match[2]
                elif match := re.match(r"Job \d+: ((?:train ([^:]+):)?.*)", line):
                    click.echo(f"[{done} of {total} done] {match[1]}")
                    if name := match[2]:
                        followed.append((name, follow(logs / f"{name}.log")))
        time.sleep(0 if ended else 0.5)


def follow(path: Path) -> Iterator[str | None]:
    """Give the lines of a file that grows; None whenever there is none yet."""
    while not path.exists():
        yield None
    with path.open(encoding="utf-8", errors="replace") as stream:
        text = ""
        while True:
            text += stream.readline()
            if text.endswith("\n"):
                yield text.rstrip("\n")
                text = ""
            else:
                yield None


if __name__ == "__main__":
    demo()
