"""A report: the table of measured and published rows, its plots, and what could not be measured."""

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..benchmarks.benchmark import REAL, benchmarks
from ..benchmarks.verification import Verification
from ..files import SynthDistillError, nearest
from ..machine import processor
from .differences import NOTE, difference
from .published import select_published
from .results import Scores, measure, read_model, run_properties
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


class Row(NamedTuple):
    """A measured row: its models, one a seed, the table's cells by key, and scores by benchmark.

    ``reference`` is the label of the row that it is compared with, if it is.
    """

    label: str
    reference: str | None
    models: list[Path]
    cells: dict[str, Any]
    scores: dict[str, list[Scores]]


class Report(NamedTuple):
    """A table, its measured rows, the benchmarks' titles by name, and problems."""

    table: Table
    rows: list[Row]
    titles: dict[str, str]
    problems: list[str]


def make_report(declared: Mapping[str, Any], databases: Sequence[Verification]) -> Report:
    """Measure rows and put them into a table, a column for each database.

    ``declared`` is what ``synthdistill-table --rows`` takes. A property (a column before the
    benchmarks) that no row knows is left out, a database on which no model of a row was evaluated
    is an empty cell. Published rows come after the measured ones, without accuracies where the
    metric is another one.
    """
    metric: str = declared["metric"]
    problems: list[str] = []
    rows = _measure_rows(declared, databases, problems)
    # ours are not opened for it
    ours, titles = benchmarks(), {}
    for database in databases:
        title = ours[database.name].title if database.name in ours else database.title
        titles[database.name] = title
    _compare(rows, metric, titles)
    published = [select_published(**r["published"]) for r in declared["rows"] if "published" in r]
    hidden = [] if metric == "accuracy" else [benchmark.name for benchmark in REAL]
    measured = pd.DataFrame([row.cells for row in rows], dtype=object)
    others = [results.drop(columns=hidden) for results in published]
    every = pd.concat([measured, *others], ignore_index=True)
    known = {name for name in every if every[name].notna().any()}
    shown = titles | ({"mean": "mean"} if "mean" in known else {})
    compared = {f"{name}_difference": f"{title}, difference" for name, title in shown.items()}
    shown |= {key: title for key, title in compared.items() if key in known}
    properties = dict.fromkeys([*declared["properties"], "seeds"])
    columns = [PROPERTIES[name] for name in properties if name in known]
    columns += [Column(name, title, 100.0) for name, title in shown.items()]
    keys = [column.key for column in columns]
    references = dict.fromkeys(row.reference for row in rows if row.reference)
    notes = [
        *_metric_notes(metric, titles, known),
        *([NOTE.format(reference=" or ".join(references))] if known & compared.keys() else []),
        *_reservations(rows, titles),
        "An empty cell is unknown or not measured.",
        *(n.format(machine=processor()) for k, n in PROPERTY_NOTES.items() if k in keys),
        *declared.get("notes", ()),
    ]
    table = Table(declared["title"], columns, every, notes)
    return Report(table, rows, titles, list(dict.fromkeys(problems)))


def _measure_rows(
    declared: Mapping[str, Any], databases: Sequence[Verification], problems: list[str]
) -> list[Row]:
    """Measure the rows that are not published, and add to ``problems`` what hinders it."""
    rows: list[Row] = []
    fingerprints = [functools.cache(database.fingerprint) for database in databases]
    for row in declared["rows"]:
        if "published" in row:
            continue
        label, models = row["label"], [Path(folder) for folder in row.get("folders", ())]
        reference = row.get("reference", declared.get("reference"))
        cells = {"section": row.get("section", ""), "model": label, "kind": "measured"}
        cells |= {"source": "", "training_data": row.get("training_data")}
        cells |= {"seeds": str(len(models))} if len(models) > 1 else {}
        rows.append(Row(label, None if reference == label else reference, models, cells, {}))
        try:
            cells |= _properties(row, models[0], declared) if models else {}
        except SynthDistillError as error:
            problems.append(error.message)
        for database, fingerprint in zip(databases, fingerprints, strict=True):
            name = database.name
            if any((model / name).is_dir() for model in models):
                try:
                    found = [read_model(model, database, fingerprint) for model in models]
                    rows[-1].scores[name] = found
                except SynthDistillError as error:
                    problems.append(error.message)
        cells |= measure(rows[-1].scores, declared["metric"], len(databases))
    return rows


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


def _compare(rows: Sequence[Row], metric: str, titles: Collection[str]) -> None:
    """Add to rows how far they are from their references."""
    by_label = {row.label: row for row in rows}
    for row in rows:
        if row.reference is None:
            continue
        if row.reference not in by_label or metric != "accuracy":
            raise SynthDistillError(
                f"the reference {row.reference!r} is no row that is measured, or the metric is not "
                f"accuracy. Rows: {', '.join(by_label)}.{nearest(row.reference, by_label)}"
            )
        both = row, by_label[row.reference]
        for name, parts in {**{name: [name] for name in titles}, "mean": list(titles)}.items():
            if all(name in one.cells for one in both):
                told = difference(
                    *([[seed.pairs for seed in one.scores[part]] for part in parts] for one in both)
                )
                ends = zip(("", "_low", "_high", "_p"), told or (), strict=False)
                row.cells.update((f"{name}_difference{end}", value) for end, value in ends)


def _metric_notes(metric: str, titles: Collection[str], cells: Set[str]) -> Iterator[str]:
    """Say what the numbers are."""
    known = [one for name, one in benchmarks().items() if name in titles]
    kind, _, far = metric.partition("@")
    note, deviation = METRIC_NOTES[kind].format(far=far), "the 10 folds"
    if len(known) < len(titles):  # pairs of one's own have any number of folds
        note = note.replace("each of 10 folds", "each fold").replace("the other nine", "the others")
        deviation = "folds"
    if titles:
        yield note
    if "seeds" in cells:
        yield (
            "±: sample standard deviation over seeds of the value over all folds, where a row has "
            "several seeds; else the population standard deviation over folds."
        )
    elif metric == "accuracy" and cells & {*titles}:
        yield f"±: population standard deviation over {deviation}."
    if any(benchmark.drawn for benchmark in known):
        yield (
            "toyfaces benchmarks are drawn faces: their values compare methods with each other, "
            "and say nothing about real faces."
        )


def _reservations(rows: Sequence[Row], titles: Mapping[str, str]) -> Iterator[str]:
    """Say of which scores the origin is not what it should be, and which pairs were not scored."""
    marks: dict[str, dict[str, None]] = {}
    never = []
    for row in rows:
        for name, seeds in row.scores.items():
            where = f"{row.label} ({titles[name]})"
            for one in seeds:
                marks.setdefault(one.origin.mark, {})[where] = None
            if number := row.cells.get(f"{name}_never_match"):
                never.append(f"{where} {number:,}")
    for mark, cells in marks.items():
        if mark:
            yield f"Scores {mark}: {', '.join(cells)}."
    if never:
        yield f"Pairs that never match, for an image could not be used: {', '.join(never)}."


def describe_provenance(rows: Sequence[Row]) -> str:
    """List where each measured cell comes from, a paragraph for each."""
    lines = []
    for row in rows:
        for name, seeds in row.scores.items():
            if name in row.cells:
                lines.append(f"{row.label} | {name}: {row.cells[name]!r}")
                lines += [line for one in seeds for line in one.origin.describe()]
    return "\n".join(lines)


def draw_report(report: Report, folder: Path) -> list[Path]:
    """Draw ROC, DET and histograms of each benchmark, and the training curves, as PNG and PDF.

    Of a row with several seeds the first is drawn.
    """
    from . import plots

    written: list[Path] = []
    rows = {row.label: row for row in report.rows if row.models}
    styles = plots.styles(rows)
    for name, title in report.titles.items():
        scores = {n: row.scores[name][0].pairs for n, row in rows.items() if name in row.scores}
        for kind, plot in plots.SCORE_PLOTS.items() if scores else ():
            written += plots.save_figure(plot(scores, title, styles), folder, f"{kind}-{name}")
    logs = {}
    for label, row in rows.items():
        path = row.models[0] / "log.csv"
        if path.is_file():
            try:
                logs[label] = pd.read_csv(path)
            except (OSError, ValueError) as error:
                raise SynthDistillError(f"cannot read the training log {path}: {error}") from error
    training = plots.plot_training(logs, styles)
    return written + (plots.save_figure(training, folder, "training") if training else [])


def draw_property(declared: Mapping[str, Any], report: Report, folder: Path) -> list[Path]:
    """Draw the metric against a property, if any row knows both, as ``METRIC-PROPERTY``.

    The declared ``plot`` has ``x`` and ``xlabel``; perhaps ``section``: only rows of this section;
    ``benchmark``: only this one, real or drawn, or ``mean``; ``logarithmic`` and ``joined``;
    ``by_section``: a curve for each section.
    """
    from . import plots

    plot, metric, rows = dict(declared["plot"]), declared["metric"], report.table.rows
    one, section = plot.pop("benchmark", None), plot.pop("section", None)
    titles = {n: t for n, t in report.titles.items() if one in (None, n, n.partition("-")[2])}
    titles |= {"mean": "mean of the benchmarks"} if one == "mean" else {}
    rows = rows[rows["section"] == section] if section else rows
    about: dict[str, Any] = {"ylabel": f"{metric} (%)", "title": report.table.title}
    figure = plots.plot_property(rows, columns=titles, **about, **plot)
    name = f"{metric}-{plot['x']}".replace("_", "-")
    return plots.save_figure(figure, folder, name) if figure else []
