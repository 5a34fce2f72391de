"""A report: the table of measured and published rows, its plots, and what could not be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..benchmarks.benchmark import benchmarks
from ..files import SynthDistillError
from .provenance import TracedValue
from .published import PublishedResult
from .results import Entry, Measured, ScoreReader, measure_entries
from .tables import Column, Quantity, Row, Table

PROPERTIES = {
    "training_data": Column("training_data", "training data"),
    "synthetic_images": Column("synthetic_images", "its images"),
    "coefficient": Column("coefficient", "coefficient"),
    "images": Column("images", "images (thousands)", 1e-3, 0),
    "parameters": Column("parameters", "parameters (M)", 1e-6, 2),
    "multiply_adds": Column("multiply_adds", "multiply-adds (M)", 1e-6, 1),
    "mflops": Column("mflops", "MFLOPs, as its source counts", 1.0, 1),
    "file_size": Column("file_size", "file (MB)", 1e-6, 1),
    "seconds": Column("seconds", "ms an image", 1e3, 2),
    "seeds": Column("seeds", "seeds"),
}
"""Columns other than benchmarks."""

METRIC_NOTES = {
    "accuracy": (
        "Verification accuracy in %: each of 10 folds at the threshold that is best on the other "
        "nine."
    ),
    "eer": "Equal error rate in %.",
    "tar": "True accept rate in % at a false accept rate of {far}.",
}


def benchmark_column(database: str) -> Column:
    """Give the column of a benchmark."""
    return Column(database, benchmarks()[database].title, 100.0, 2)


def published_rows(results: Sequence[PublishedResult], metric: str) -> list[Row]:
    """Make rows of published results: their accuracies only, where the metric is accuracy."""
    rows = []
    for result in results:
        values: dict[str, Quantity | str | None] = {
            "training_data": result.training_data,
            "synthetic_images": result.synthetic_images,
            "parameters": None if result.parameters is None else Quantity(result.parameters),
            "mflops": None if result.mflops is None else Quantity(result.mflops),
        }
        if metric == "accuracy":
            values |= {
                name: Quantity(value)
                for name, value in result.accuracies.items()
                if value is not None
            }
        source = f"{result.source} ({result.verified})"
        rows.append(Row(result.model, values, "published", result.group, source))
    return rows


@dataclass(frozen=True)
class Report:
    """A table and what stands behind it.

    Parameters
    ----------
    table
        Measured rows, then published ones.
    traced
        Where each measured value comes from.
    problems
        What could not be measured, a sentence each that names the file.
    """

    table: Table
    traced: Sequence[TracedValue]
    problems: Sequence[str]


def make_report(
    title: str,
    entries: Sequence[Entry],
    databases: Sequence[str],
    reader: ScoreReader,
    *,
    metric: str = "accuracy",
    published: Sequence[PublishedResult] = (),
    properties: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Measure the entries and put them into a table with published results.

    Parameters
    ----------
    title
        The table's.
    entries
        What to measure.
    databases
        Benchmark columns.
    reader
        Reads the score files.
    metric
        One of :py:data:`.tables.METRICS`.
    published
        Rows after the measured ones.
    properties
        Columns before the benchmarks, by their names in :py:data:`PROPERTIES`. A property that no
        row knows is left out, and so is the number of seeds where each row has one.
    notes
        Sentences below the table, besides those that every table needs.

    Returns
    -------
        The report.
    """
    measured = measure_entries(entries, databases, metric, reader)
    rows = [*measured.rows, *published_rows(published, metric)]
    several = any(len(entry.models) > 1 for entry in entries)
    names = [*properties, "seeds"] if several and "seeds" not in properties else [*properties]
    columns = [
        PROPERTIES[name] for name in names if any(row.values.get(name) is not None for row in rows)
    ]
    columns += [benchmark_column(name) for name in databases]
    every_note = [*_notes(databases, metric, measured, several=several), *notes]
    return Report(Table(title, columns, rows, every_note), measured.traced, measured.problems)


def _notes(
    databases: Sequence[str], metric: str, measured: Measured, *, several: bool
) -> list[str]:
    kind, _, far = metric.partition("@")
    notes = [METRIC_NOTES[kind].format(far=far)] if databases else []
    if several:
        notes.append(
            "±: sample standard deviation over seeds of the value over all folds, where a row has "
            "several seeds; else the population standard deviation over folds."
        )
    elif metric == "accuracy" and measured.traced:
        notes.append("±: population standard deviation over the 10 folds.")
    if any(benchmarks()[name].drawn for name in databases):
        notes.append(
            "toyfaces benchmarks are drawn faces: their values compare methods with each other, "
            "and say nothing about real faces."
        )
    notes.append("An empty cell is unknown or not measured.")
    return notes


def draw_report(
    entries: Sequence[Entry], databases: Sequence[str], reader: ScoreReader, folder: Path
) -> list[Path]:
    """Draw ROC, DET and histograms of each benchmark, and the training curves.

    Of a row with several seeds the first is drawn. Score files that cannot be read are left out:
    the report names them.

    Parameters
    ----------
    entries
        The measured rows.
    databases
        The benchmarks.
    reader
        Reads the score files.
    folder
        Where the pictures go.

    Returns
    -------
        The files written: ``roc-DATABASE``, ``det-DATABASE``, ``histogram-DATABASE`` and
        ``training``, each as PNG and PDF.
    """
    from . import curves, plots

    written: list[Path] = []
    for database in databases:
        scores = {}
        for entry in entries:
            if not entry.models or database not in entry.models[0].scores:
                continue
            try:
                frame = reader.read(entry.models[0], database)
            except SynthDistillError:
                continue
            scores[entry.label] = (frame["genuine"].to_numpy(bool), frame["score"].to_numpy(float))
        if not scores:
            continue
        for name, plot in (
            ("roc", plots.plot_roc),
            ("det", plots.plot_det),
            ("histogram", plots.plot_histograms),
        ):
            figure = plot(scores, benchmarks()[database].title)
            written += plots.save_figure(figure, folder, f"{name}-{database}")
    logs = {}
    for entry in entries:
        path = entry.models[0].folder / "log.csv" if entry.models else None
        if path is not None and path.is_file():
            try:
                logs[entry.label] = pd.read_csv(path)
            except (OSError, ValueError) as error:
                raise SynthDistillError(f"cannot read the training log {path}: {error}") from error
    training = curves.plot_training(logs)
    return written + (plots.save_figure(training, folder, "training") if training else [])
