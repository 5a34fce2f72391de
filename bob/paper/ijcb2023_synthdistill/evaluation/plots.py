"""Plots of scores, of trainings, and of accuracy against a property: PNG and PDF.

Figures are made without pyplot: no window system, no global state. Measured values are filled
marks; published ones are hollow grey squares.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.stats import norm
from sklearn.metrics import roc_curve

from ..files import atomic_write

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette: told apart by colour-blind readers."""

STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

Scores = tuple[np.ndarray, np.ndarray]
"""``(genuine, score)`` of all pairs: bool and float, ``[N]``."""


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """Make a figure, sizes in inches, with a list of its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes:
        ax.grid(visible=True, color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _panels(number: int) -> tuple[int, int]:
    """Give the rows and columns in which so many panels stand."""
    columns = 2 if number == 4 else min(number, 3)
    return -(-number // columns), columns


def _style(index: int) -> dict[str, Any]:
    """Give colour and dashes of the model of this index, the same in every plot."""
    return {
        "color": COLORS[index % len(COLORS)],
        "linestyle": STYLES[index // len(COLORS) % len(STYLES)],
        "linewidth": 1.4,
    }


def _legend(figure: Figure, ax: Axes) -> None:
    """Put the legend of one of the axes below the figure, where it covers nothing."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) < 40 else 1
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )


def _percent(value: float, _: object = None) -> str:
    return f"{value * 100:g}"


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as NAME.png and NAME.pdf; the same figure gives the same bytes."""
    written = []
    # no date in the files, so that an unchanged plot is an unchanged file
    for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
        path = folder / f"{name}.{kind}"
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)
        written.append(path)
        # found once: it takes as long as the drawing
        figure.set_layout_engine("none")
    return written


def _error_rates(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    far, tar, _ = roc_curve(*scores, drop_intermediate=False)
    return far, tar


def plot_roc(scores: Mapping[str, Scores], title: str) -> Figure:
    """Plot each model's true against its false accept rate, the latter on a logarithmic axis.

    The axis begins at one false accept among the impostor pairs: below it nothing is measured.
    """
    figure, (ax,) = _figure(5.2, 4.0 + 0.2 * len(scores))
    lowest = 1.0
    for index, (label, pairs) in enumerate(scores.items()):
        far, tar = _error_rates(pairs)
        lowest = min(lowest, 1.0 / max(int((~pairs[0]).sum()), 1))
        ax.step(far, tar, where="post", label=label, **_style(index))
    ax.set_xscale("log")
    ax.set_xlim(lowest, 1.0)
    ax.set_ylim(0.0, 1.01)
    ax.xaxis.set_major_formatter(FuncFormatter(_percent))
    ax.yaxis.set_major_formatter(FuncFormatter(_percent))
    ax.set_xlabel("false accept rate (%)")
    ax.set_ylabel("true accept rate (%)")
    ax.set_title(f"ROC, {title}", fontsize=10)
    _legend(figure, ax)
    return figure


def plot_det(scores: Mapping[str, Scores], title: str) -> Figure:
    """Plot each model's false reject against its false accept rate, on normal-deviate axes."""
    figure, (ax,) = _figure(5.2, 4.0 + 0.2 * len(scores))
    lowest = 0.4
    for index, (label, pairs) in enumerate(scores.items()):
        far, tar = _error_rates(pairs)
        inside = (far > 0) & (far < 1) & (tar > 0) & (tar < 1)
        lowest = min(lowest, 1.0 / max(int((~pairs[0]).sum()), int(pairs[0].sum()), 1))
        ax.plot(norm.ppf(far[inside]), norm.ppf(1 - tar[inside]), label=label, **_style(index))
    ticks = [t for t in (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if t >= lowest]
    limits = norm.ppf([lowest, 0.9])
    ax.plot(limits, limits, color="0.8", linewidth=0.8, zorder=0)  # where both errors are equal
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    ax.set_xticks(norm.ppf(ticks), [_percent(t) for t in ticks])
    ax.set_yticks(norm.ppf(ticks), [_percent(t) for t in ticks])
    ax.set_xlabel("false accept rate (%)")
    ax.set_ylabel("false reject rate (%)")
    ax.set_title(f"DET, {title}", fontsize=10)
    _legend(figure, ax)
    return figure


def plot_histograms(scores: Mapping[str, Scores], title: str) -> Figure:
    """Plot the scores of genuine and impostor pairs, one panel a model, on one common axis."""
    rows, columns = _panels(len(scores))
    figure, axes = _figure(0.8 + 3.0 * columns, 0.7 + 2.1 * rows, rows, columns)
    every = np.concatenate([values for _, values in scores.values()])
    bins = np.linspace(every.min(), max(every.max(), every.min() + 1e-6), 41)
    for ax, (label, (genuine, values)) in zip(axes, scores.items(), strict=False):
        for mask, name, color in ((genuine, "genuine", 0), (~genuine, "impostor", 1)):
            counts, _ = np.histogram(values[mask], bins)
            ax.stairs(counts, bins, fill=True, color=COLORS[color], alpha=0.55, label=name)
        ax.set_title(label, fontsize=8)
        ax.tick_params(labelsize=7)
    for ax in axes[len(scores) :]:
        ax.remove()
    axes[0].legend(fontsize=7, frameon=False)
    figure.suptitle(f"scores, {title}", fontsize=10)
    figure.supxlabel("score (cosine similarity - 1)", fontsize=8)
    figure.supylabel("pairs", fontsize=8)
    return figure


SCORE_PLOTS: dict[str, Callable[[Mapping[str, Scores], str], Figure]] = {
    "roc": plot_roc,
    "det": plot_det,
    "histogram": plot_histograms,
}
"""The plots of each benchmark, by the beginning of their files' names."""


def plot_training(logs: Mapping[str, pd.DataFrame]) -> Figure | None:
    """Plot losses and cosines of each run's ``log.csv``, if there are any, against images."""
    names = dict.fromkeys(
        column
        for log in logs.values()
        for column in log.columns
        if any(word in column.lower() for word in ("loss", "mse", "cosine"))
        and pd.api.types.is_numeric_dtype(log[column])
        and log[column].notna().any()
    )
    if not names:
        return None
    rows, columns = _panels(len(names))
    figure, axes = _figure(3.4 * columns, 2.7 * rows + 0.2 * len(logs), rows, columns)
    for ax, name in zip(axes, names, strict=False):
        for index, (label, log) in enumerate(logs.items()):
            if name in log:
                x = log["images"] if "images" in log else log["epoch"]
                ax.plot(x, log[name], label=label, marker=".", markersize=4, **_style(index))
        if "loss" in name.lower() or "mse" in name.lower():
            ax.set_yscale("log")
        ax.set_title(name.replace("_", " "), fontsize=9)
        ax.set_xlabel("images" if all("images" in log for log in logs.values()) else "epoch")
        ax.tick_params(which="both", labelsize=7)
    for ax in axes[len(names) :]:
        ax.remove()
    _legend(figure, axes[0])
    return figure


def plot_property(
    rows: pd.DataFrame,
    x: str,
    columns: Mapping[str, str],
    xlabel: str,
    ylabel: str,
    *,
    title: str = "",
    logarithmic: bool = False,
    joined: bool = True,
) -> Figure | None:
    """Plot a metric against a property of the models, if any row knows both.

    Parameters
    ----------
    rows
        Of a table. Published rows may know ``mflops`` where ``x`` is ``multiply_adds``.
    x
        The property's key.
    columns
        The metric's columns, with their titles. Points of a single one have the rows' names.
    xlabel, ylabel
        With the unit; y is printed in per cent.
    title
        Above the plot.
    logarithmic
        Logarithmic x axis.
    joined
        Whether a line goes through the measured points, from left to right.
    """
    where = pd.to_numeric(rows[x]) if x in rows else pd.Series(np.nan, rows.index)
    if x == "multiply_adds" and "mflops" in rows:
        where = where.fillna(pd.to_numeric(rows["mflops"]) * 1e6)
    figure, (ax,) = _figure(7.4, 4.2)
    names: list[str] = []
    for index, (key, name) in enumerate(columns.items()):
        y = pd.to_numeric(rows.get(key, pd.Series(np.nan, rows.index)))
        deviation = pd.to_numeric(rows.get(f"{key}_std", pd.Series(0.0, rows.index))).fillna(0)
        known = rows.assign(x=where, y=y, deviation=deviation)[where.notna() & y.notna()]
        ours = known[known["kind"] == "measured"].sort_values("x", kind="stable")
        theirs = known[known["kind"] == "published"]
        if len(ours):
            ax.errorbar(
                ours["x"],
                ours["y"],
                yerr=ours["deviation"],
                color=COLORS[index % len(COLORS)],
                marker=MARKERS[index % len(MARKERS)],
                linestyle="-" if joined else "none",
                linewidth=1.2,
                markersize=5,
                capsize=2.5,
                elinewidth=0.8,
                label=name if theirs.empty else f"{name}, measured",
            )
        for row in ours.itertuples() if len(columns) == 1 else ():
            _annotate(ax, row, row.model, color="black")
        for row in theirs.itertuples():
            # published models stand close together: numbers, and their names beside the plot
            names.append(row.model)
            _annotate(ax, row, str(len(names)), color="0.45", fontstyle="italic")
        if len(theirs):
            ax.plot(
                theirs["x"],
                theirs["y"],
                marker="s",
                markersize=4.5,
                markerfacecolor="none",
                color="0.5",
                linestyle="none",
                label=f"{name}, published",
            )
    if not ax.has_data():
        return None
    if logarithmic:
        ax.set_xscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(_percent))
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if title:
        ax.set_title(title, fontsize=10)
    listed = "\n".join(f"{number}  {name}" for number, name in enumerate(names, 1))
    ax.plot([], [], linestyle="none", label=listed)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7, frameon=False)
    return figure


def _annotate(ax: Axes, row: Any, text: str, **style: Any) -> None:
    ax.annotate(
        text, (row.x, row.y), xytext=(4, 3), textcoords="offset points", fontsize=6.5, **style
    )
