"""A report: the table of measured and published rows, its plots, and what could not be measured."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..benchmarks.benchmark import benchmarks
from ..files import SynthDistillError, nearest
from ..machine import processor
from .differences import NOTE, difference
from .provenance import TracedValue
from .published import BENCHMARKS, select_published
from .results import ScoreReader, measure, run_properties
from .tables import Column, Table

PROPERTIES = {
    "training_data": Column("training_data", "training data"),
    "synthetic_images": Column("synthetic_images", "its images"),
    "sampling": Column("sampling", "sampling"),
    "coefficient": Column("coefficient", "coefficient"),
    "identity_kept": Column("identity_kept", "identity kept", 1.0, 2),
    "images": Column("images", "images (thousands)", 1e-3, 0),
    "parameters": Column("parameters", "parameters (M)", 1e-6, 2),
    "multiply_adds": Column("multiply_adds", "multiply-adds (M)", 1e-6, 1),
    "mflops": Column("mflops", "MFLOPs, as its source counts", 1.0, 1),
    "file_size": Column("file_size", "file (MB)", 1e-6, 1),
    "seconds": Column("seconds", "ms an image", 1e3, 2),
    "seeds": Column("seeds", "seeds"),
}
"""Columns other than benchmarks."""

COSTS = ("parameters", "multiply_adds", "file_size", "seconds")
"""Columns for which the network has to be loaded."""

PROPERTY_NOTES = {
    "identity_kept": (
        "Identity kept: the teacher's mean cosine between a face and what it is re-sampled to, "
        "where the student agrees with the teacher entirely. On another generator the coefficient "
        "that leaves the same cosine does the same to identities."
    ),
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
    """A table, its measured models (for each row one a seed), its values' origins, and problems."""

    table: Table
    models: dict[str, list[Path]]
    traced: list[TracedValue]
    problems: list[str]


def make_report(declared: Mapping[str, Any], reader: ScoreReader) -> Report:
    """Measure rows and put them into a table, a column for each of the reader's databases.

    ``declared`` is what ``synthdistill-table --rows`` takes. A property (a column before the
    benchmarks) that no row knows is left out. Published rows come after the measured ones, without
    accuracies where the metric is another one.
    """
    metric, properties = declared["metric"], [*declared["properties"], "seeds"]
    rows: list[dict[str, Any]] = []
    models: dict[str, list[Path]] = {}
    traced: list[TracedValue] = []
    problems: list[str] = []
    for row in declared["rows"]:
        if "published" in row:
            continue
        label, folders = row["label"], [Path(folder) for folder in row.get("folders", ())]
        models[label] = folders
        rows.append({"section": row.get("section", ""), "model": label, "kind": "measured"})
        rows[-1] |= {"source": "", "training_data": row.get("training_data")}
        try:
            rows[-1] |= _properties(row, folders[0], declared) if folders else {}
        except SynthDistillError as error:
            problems.append(error.message)
        measured = measure(label, folders, metric, reader)
        rows[-1] |= measured.cells
        traced += measured.traced
        problems += measured.problems
    compared = _compare(declared, models, rows, reader)
    references = dict.fromkeys(_references(declared).values())
    published = [select_published(**r["published"]) for r in declared["rows"] if "published" in r]
    hidden = [] if metric == "accuracy" else list(BENCHMARKS)
    others = [results.drop(columns=hidden) for results in published]
    every = pd.concat([pd.DataFrame(rows, dtype=object), *others], ignore_index=True)
    known = [name for name in dict.fromkeys(properties) if name in every]
    columns = [PROPERTIES[name] for name in known if every[name].notna().any()]
    titles = {name: reader.title(name) for name in reader.databases}
    if "mean" in every:
        titles["mean"] = "mean"
    columns += [Column(name, title, 100.0, 2) for name, title in titles.items()]
    for name in compared:
        columns.append(Column(f"{name}_difference", f"{titles[name]}, difference", 100.0, 2))
    shown = [column.key for column in columns]
    notes = [
        *_metric_notes(metric, reader, shown, bool(traced)),
        *([NOTE.format(reference=" or ".join(references))] if compared else []),
        *_reservations(rows, traced, reader),
        "An empty cell is unknown or not measured.",
        *(n.format(machine=processor()) for k, n in PROPERTY_NOTES.items() if k in shown),
        *declared.get("notes", ()),
    ]
    table = Table(declared["title"], columns, every, notes)
    return Report(table, models, traced, list(dict.fromkeys(problems)))


def _properties(row: Mapping[str, Any], model: Path, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what a model was trained with and, if it is asked for, what it costs."""
    file = Path(row.get("file", model / "student.safetensors"))
    wanted = {*COSTS} & {*declared["properties"]}
    if not wanted or not file.is_file():
        return run_properties(model)
    from .complexity import model_properties

    kind, networks = row.get("kind", "student"), declared.get("networks", ())
    costs = model_properties(file, kind, timed="seconds" in wanted, networks=networks)
    return run_properties(model) | costs


def _compare(
    declared: Mapping[str, Any],
    models: Mapping[str, Sequence[Path]],
    rows: Sequence[dict[str, Any]],
    reader: ScoreReader,
) -> list[str]:
    """Add to measured rows how far they are from their references; give where there are any."""
    by_label = {row["model"]: row for row in rows}
    shown = {**{name: [name] for name in reader.databases}, "mean": list(reader.databases)}
    compared = {}
    for label, other in _references(declared).items():
        if other not in models or declared["metric"] != "accuracy":
            raise SynthDistillError(
                f"the reference {other!r} is no row that is measured, or the metric is not "
                f"accuracy. Rows: {', '.join(models)}.{nearest(other, models)}"
            )
        row = by_label[label]
        for name, databases in shown.items():
            if name in row and name in by_label[other]:
                ours, theirs = (
                    [[reader.read(model, each) for model in models[one]] for each in databases]
                    for one in (label, other)
                )
                if told := difference(ours, theirs):
                    compared[name] = key = f"{name}_difference"
                    row |= {key: told.value, f"{key}_low": told.low, f"{key}_high": told.high}
                    row[f"{key}_p"] = told.p
    return [name for name in shown if name in compared]


def _references(declared: Mapping[str, Any]) -> dict[str, str]:
    """Give the label of the row that each is compared with: its own reference, or the table's."""
    measured = [row for row in declared["rows"] if "published" not in row]
    found = {row["label"]: row.get("reference", declared.get("reference")) for row in measured}
    return {label: other for label, other in found.items() if other not in (None, label)}


def _metric_notes(
    metric: str, reader: ScoreReader, shown: Sequence[str], measured: bool
) -> Iterator[str]:
    """Say what the numbers are."""
    known = [benchmarks()[name] for name in reader.databases if name in benchmarks()]
    kind, _, far = metric.partition("@")
    note, deviation = METRIC_NOTES[kind].format(far=far), "the 10 folds"
    if len(known) < len(reader.databases):  # pairs of one's own have any number of folds
        note = note.replace("each of 10 folds", "each fold").replace("the other nine", "the others")
        deviation = "folds"
    if reader.databases:
        yield note
    if "seeds" in shown:
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


def _reservations(
    rows: Sequence[Mapping[str, Any]], traced: Sequence[TracedValue], reader: ScoreReader
) -> Iterator[str]:
    """Say of which scores the origin is not what it should be, and which pairs were not scored."""
    marks: dict[str, dict[str, None]] = {}
    for cell in traced:
        for origin in cell.origins:
            where = f"{cell.row} ({reader.title(cell.column)})"
            marks.setdefault(origin.mark, {})[where] = None
    for mark, cells in marks.items():
        if mark:
            yield f"Scores {mark}: {', '.join(cells)}."
    never = [
        f"{row['model']} ({reader.title(name)}) {row[f'{name}_never_match']:,}"
        for row in rows
        for name in reader.databases
        if f"{name}_never_match" in row
    ]
    if never:
        yield f"Pairs that never match, for an image could not be used: {', '.join(never)}."


def draw_report(
    models: Mapping[str, Sequence[Path]], reader: ScoreReader, folder: Path
) -> list[Path]:
    """Draw ROC, DET and histograms of each benchmark, and the training curves, as PNG and PDF.

    Of a row with several seeds the first is drawn. Score files that cannot be read are left out.
    """
    from . import plots

    written: list[Path] = []
    first = {label: folders[0] for label, folders in models.items() if folders}
    styles = plots.styles(first)
    for database in reader.databases:
        scores = {}
        for label, model in first.items():
            with contextlib.suppress(SynthDistillError):
                if (model / database).is_dir():
                    scores[label] = reader.read(model, database)
        if scores:
            for name, plot in plots.SCORE_PLOTS.items():
                figure = plot(scores, reader.title(database), styles)
                written += plots.save_figure(figure, folder, f"{name}-{database}")
    logs = {}
    for label, model in first.items():
        path = model / "log.csv"
        if path.is_file():
            try:
                logs[label] = pd.read_csv(path)
            except (OSError, ValueError) as error:
                raise SynthDistillError(f"cannot read the training log {path}: {error}") from error
    training = plots.plot_training(logs, styles)
    return written + (plots.save_figure(training, folder, "training") if training else [])


def draw_property(
    declared: Mapping[str, Any], table: Table, reader: ScoreReader, folder: Path
) -> list[Path]:
    """Draw the metric against a property, if any row knows both, as ``METRIC-PROPERTY``.

    The declared ``plot`` has ``x`` and ``xlabel``; perhaps ``section``: only rows of this section;
    ``benchmark``: only this one, real or drawn, or ``mean``; ``logarithmic`` and ``joined``;
    ``by_section``: a curve for each section.
    """
    from . import plots

    plot, metric, rows = declared["plot"], declared["metric"], table.rows
    one = plot.get("benchmark")
    names = {n: reader.title(n) for n in reader.databases if one in (None, n, n.partition("-")[2])}
    if one == "mean":
        names["mean"] = "mean of the benchmarks"
    figure = plots.plot_property(
        rows[rows["section"] == plot["section"]] if plot.get("section") else rows,
        plot["x"],
        names,
        plot["xlabel"],
        f"{metric} (%)",
        title=table.title,
        logarithmic=plot.get("logarithmic", False),
        joined=plot.get("joined", True),
        by_section=plot.get("by_section", False),
    )
    name = f"{metric}-{plot['x']}".replace("_", "-")
    return plots.save_figure(figure, folder, name) if figure else []
