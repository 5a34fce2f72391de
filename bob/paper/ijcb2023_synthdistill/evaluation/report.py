"""A report: the table of measured and published rows, its plots, and what could not be measured."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..benchmarks.benchmark import benchmarks
from ..files import SynthDistillError
from ..machine import processor
from .provenance import TracedValue
from .published import BENCHMARKS
from .results import Entry, Measured, ScoreReader, measure_entries
from .tables import Column, Table

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

PROPERTY_NOTES = {
    "multiply_adds": (
        "Multiply-adds: of convolutions and matrix products, for one 112x112 image, counted by "
        "torch's FLOP counter and halved; one multiplication with its addition is one."
    ),
    "seconds": "ms an image: median of 50 passes with one thread and batch 1 on {machine}.",
    "mflops": (
        "MFLOPs are printed as their source does: sources differ in whether a multiply-add is one "
        "or two."
    ),
}

METRIC_NOTES = {
    "accuracy": (
        "Verification accuracy in %: each of 10 folds at the threshold that is best on the other "
        "nine."
    ),
    "eer": "Equal error rate in %.",
    "tar": "True accept rate in % at a false accept rate of {far}.",
}


class Report(NamedTuple):
    """A table, where each measured value comes from, and what could not be measured, in words."""

    table: Table
    traced: Sequence[TracedValue]
    problems: Sequence[str]


def make_report(
    title: str,
    entries: Sequence[Entry],
    reader: ScoreReader,
    *,
    metric: str = "accuracy",
    published: Sequence[pd.DataFrame] = (),
    properties: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Measure the entries and put them into a table with published results.

    Parameters
    ----------
    title
        The table's.
    entries, reader
        What to measure; the reader's databases are columns.
    metric
        One of :py:data:`.results.METRICS`.
    published
        Rows after the measured ones, as :py:mod:`.published` gives them: their accuracies are shown
        where the metric is accuracy.
    properties
        Columns before the benchmarks, by their names in :py:data:`PROPERTIES`. A property that no
        row knows is left out, and so is the number of seeds where each row has one.
    notes
        Sentences below the table, besides those that its columns need.
    """
    databases = list(reader.databases)
    measured = measure_entries(entries, metric, reader)
    hidden = [] if metric == "accuracy" else list(BENCHMARKS)
    others = [results.drop(columns=hidden) for results in published]
    rows = pd.concat([pd.DataFrame(measured.rows, dtype=object), *others], ignore_index=True)
    several = any(len(entry.models) > 1 for entry in entries)
    names = [*properties, "seeds"] if several and "seeds" not in properties else [*properties]
    columns = [PROPERTIES[name] for name in names if name in rows and rows[name].notna().any()]
    columns += [Column(name, reader.title(name), 100.0, 2) for name in databases]
    sentences = [*_metric_notes(metric, databases, several, bool(measured.traced))]
    sentences += _reservations(measured, reader)
    sentences.append("An empty cell is unknown or not measured.")
    shown = [column.key for column in columns]
    sentences += [n.format(machine=processor()) for k, n in PROPERTY_NOTES.items() if k in shown]
    table = Table(title, columns, rows, [*sentences, *notes])
    return Report(table, measured.traced, measured.problems)


def _metric_notes(
    metric: str, databases: Sequence[str], several: bool, measured: bool
) -> Iterator[str]:
    """Say what the numbers are."""
    known = [benchmarks()[name] for name in databases if name in benchmarks()]
    kind, _, far = metric.partition("@")
    note, deviation = METRIC_NOTES[kind].format(far=far), "the 10 folds"
    if len(known) < len(databases):  # pairs of one's own have any number of folds
        note = note.replace("each of 10 folds", "each fold").replace("the other nine", "the others")
        deviation = "folds"
    if databases:
        yield note
    if several:
        yield (
            "±: sample standard deviation over seeds of the value over all folds, where a row has "
            "several seeds; else the population standard deviation over folds."
        )
    elif metric == "accuracy" and measured:
        yield f"±: population standard deviation over {deviation}."
    if any(benchmark.drawn for benchmark in known):
        yield (
            "toyfaces benchmarks are drawn faces: their values compare methods with each other, "
            "and say nothing about real faces."
        )


def _reservations(measured: Measured, reader: ScoreReader) -> Iterator[str]:
    """Say of which scores the origin is not what it should be, and which pairs were not scored."""
    marks: dict[str, dict[str, None]] = {}
    for cell in measured.traced:
        where = f"{cell.row} ({reader.title(cell.column)})"
        for mark in filter(None, (origin.mark for origin in cell.origins)):
            marks.setdefault(mark, {})[where] = None
    for mark, cells in marks.items():
        yield f"Scores {mark}: {', '.join(cells)}."
    never = [
        f"{row['model']} ({reader.title(name)}) {row[f'{name}_never_match']:,}"
        for row in measured.rows
        for name in reader.databases
        if f"{name}_never_match" in row
    ]
    if never:
        yield (
            "Pairs that never match, for one of their images could not be used: "
            f"{', '.join(never)}."
        )


def draw_report(entries: Sequence[Entry], reader: ScoreReader, folder: Path) -> list[Path]:
    """Draw ROC, DET and histograms of each benchmark, and the training curves, as PNG and PDF.

    Of a row with several seeds the first is drawn. Score files that cannot be read are left out:
    the report names them.
    """
    from . import plots

    written: list[Path] = []
    first = {entry.label: entry.models[0] for entry in entries if entry.models}
    for database in reader.databases:
        scores = {}
        for label, model in first.items():
            if not (model / database).is_dir():
                continue
            try:
                frame = reader.read(model, database)
            except SynthDistillError:
                continue
            # pairs that never match stand with the least alike
            values = frame["score"].to_numpy(float).clip(min=-2.0)
            scores[label] = (frame["genuine"].to_numpy(bool), values)
        if scores:
            for name, plot in plots.SCORE_PLOTS.items():
                figure = plot(scores, reader.title(database))
                written += plots.save_figure(figure, folder, f"{name}-{database}")
    logs = {}
    for label, model in first.items():
        path = model / "log.csv"
        if path.is_file():
            try:
                logs[label] = pd.read_csv(path)
            except (OSError, ValueError) as error:
                raise SynthDistillError(f"cannot read the training log {path}: {error}") from error
    training = plots.plot_training(logs)
    return written + (plots.save_figure(training, folder, "training") if training else [])


def draw_property(
    table: Table, reader: ScoreReader, metric: str, plot: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Draw the metric against a property, if any row knows both, as ``METRIC-PROPERTY``.

    ``plot`` has ``x`` and ``xlabel``; perhaps ``section``: only rows of this section;
    ``benchmark``: only this one, real or drawn; ``logarithmic`` and ``joined``.
    """
    from . import plots

    one = plot.get("benchmark")
    names = [n for n in reader.databases if one in (None, n, n.partition("-")[2])]
    rows = table.rows
    figure = plots.plot_property(
        rows[rows["section"] == plot["section"]] if plot.get("section") else rows,
        plot["x"],
        {name: reader.title(name) for name in names},
        plot["xlabel"],
        f"{metric} (%)",
        title=table.title,
        logarithmic=plot.get("logarithmic", False),
        joined=plot.get("joined", True),
    )
    name = f"{metric}-{plot['x']}".replace("_", "-")
    return plots.save_figure(figure, folder, name) if figure else []
