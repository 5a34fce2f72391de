#!/usr/bin/env python
"""The paper in miniature: train, evaluate and print a table in a few minutes, from nothing."""

import os
import shutil
import time
from pathlib import Path

import click
from reproduction.declarations import Declaration, load_declaration
from reproduction.plan import plan
from reproduction.runs import Settings, State
from reproduction.steps import evaluate_all, show_log, train_all

RESULTS = Path("results") / "demo"
SEED = 2021
JOBS = 2
"""Trainings side by side: two of one thread each do more than one of two threads."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-o",
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=RESULTS,
    show_default=True,
    help="Where everything goes.",
)
@click.option(
    "--dask-client",
    default="local-parallel",
    show_default=True,
    help="Bob's dask client for the evaluation; `none` for this process alone.",
)
def demo(results: Path, dask_client: str) -> None:
    """Train two students without a photograph, evaluate them with Bob, print table 1 in miniature.

    What is there and current is not done again: a second run takes seconds.
    """
    start = time.monotonic()
    show_log()
    declaration = load_declaration("demo", "toyfaces")
    settings = Settings(results=results / "runs", seeds=(SEED,))
    models = plan([declaration], settings)
    benchmarks = declaration.variant.benchmarks
    tell(
        1,
        "Benchmarks: five miniatures of LFW, CALFW, CPLFW, CFP-FP and AgeDB-30, drawn by our own "
        "renderer in the real file format (.bin), with the real structure (10 folds).",
    )
    draw_benchmarks(benchmarks)
    tell(
        2,
        "Training: a small generator makes faces, a teacher and a student look at them, the "
        "student learns the teacher's embedding. Once with dynamic sampling (the paper), once "
        "with static sampling; and the student as it is before any training.",
    )
    todo = [m.run for m in models if m.run is not None and m.run.state() is not State.DONE]
    click.echo(f"images to train on: {sum(run.options.images for run in todo):,}")
    failures = train_all(models, settings, jobs=JOBS)
    client = None if dask_client == "none" else dask_client
    tell(
        3,
        "Evaluation: teacher and students through Bob's PipelineSimple"
        + ("." if client is None else f", on dask's workers ({client}).")
        + " Each pair gets a cosine score.",
    )
    failures += evaluate_all(models, benchmarks, client)
    tell(4, "Table, plots and pictures.")
    problems, written = write_results(declaration, settings, results)
    failures += problems
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if failures:
        raise click.ClickException("the demo is not complete: run it again when this is mended")
    tell_the_end(results, written, time.monotonic() - start)


def tell(step: int, text: str) -> None:
    """Say what comes."""
    click.echo()
    click.echo(click.wrap_text(text, 96, f"==> {step}/4  ", "         "))


def draw_benchmarks(names: list[str]) -> None:
    """Draw the miniature benchmarks into the user's cache, or find them there."""
    from reproduction.scores import open_benchmark
    from reproduction.status_line import StatusLine

    line = StatusLine("drawing ")
    for name in names:
        line.show(f"{name}, if it is not there yet")
        pairs = len(open_benchmark(name).pairs())
        line.clear()
        click.echo(f"{name}: {pairs:,} pairs in 10 folds")


def write_results(
    declaration: Declaration, settings: Settings, results: Path
) -> tuple[list[str], list[Path]]:
    """Print the table; write it with plots and pictures.

    Returns
    -------
        What could not be measured, a sentence each, and the files written.
    """
    from reproduction.assemble import assemble
    from reproduction.pictures import draw_pairs
    from reproduction.plan import plan_row
    from reproduction.scores import open_benchmark

    from bob.paper.ijcb2023_synthdistill.evaluation.results import ScoreReader
    from bob.paper.ijcb2023_synthdistill.evaluation.tables import to_markdown
    from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

    reader = ScoreReader(open_benchmark)
    report, written = assemble(declaration, settings, reader, results)
    click.echo("\n" + to_markdown(report.table))
    problems = list(report.problems)
    (student,) = plan_row(declaration.rows[1], declaration, settings)
    samples = student.folder / "samples.png"
    if samples.is_file():
        shutil.copyfile(samples, results / "faces.png")
        written.append(results / "faces.png")
    try:
        model = student.results(declaration.variant.benchmarks)
        rows = [(open_benchmark(name), reader.read(model, name)) for name in model.scores]
        draw_pairs(results / "pairs.png", rows)
        written.append(results / "pairs.png")
    except SynthDistillError as error:
        if error.message not in problems:
            problems.append(error.message)
    return problems, written


def tell_the_end(results: Path, written: list[Path], seconds: float) -> None:
    """Say what to look at, and what to run for the real thing."""
    there = {path.name for path in written}
    looks = {
        "table.md": "the table (also table.tex for LaTeX, table.csv for programs)",
        "faces.png": "what the student was trained on: fresh faces over their re-sampled ones",
        "pairs.png": "pairs of the five benchmarks, with the student's scores",
        "roc-toyfaces-cfp-fp.png": "ROC curves; det-*, histogram-* and training.png likewise",
        "provenance.txt": "the files and hashes behind each number",
    }
    click.echo(f"\nDone in {seconds:,.0f} s. Look at:")
    for name, what in looks.items():
        if name in there:
            click.echo(f"  {os.path.relpath(results / name):44} {what}")
    click.echo(
        f"""
These are drawn faces: the table compares methods, and says nothing about real faces.
Next, in the same miniature world:
  synthdistill-train toyfaces loss-cosine -o results/cosine      another loss, in minutes
  bob bio pipeline simple -d toyfaces-lfw -p {pipeline_of(results)} -o results/out
  python experiments/reproduce.py table3 --seeds 2021,2022,2023  a table of the paper
The real thing needs the generator, the teacher and the data sets (see README.md):
  synthdistill-fetch --check                                     what is in place, what is missing
  synthdistill-train tinyfar-a -o results/tinyfar-a              the paper's run
  python experiments/reproduce.py all --variant real --dry-run   what every table takes"""
    )


def pipeline_of(results: Path) -> str:
    """Name a trained student's pipeline."""
    found = sorted((results / "runs").glob("toyfaces-seed-*/pipeline.py"))
    return os.path.relpath(found[0]) if found else "results/toyfaces/pipeline.py"


if __name__ == "__main__":
    demo()
