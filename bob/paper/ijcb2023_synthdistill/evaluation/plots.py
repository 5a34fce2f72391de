"""Plots of scores: ROC, DET and histograms, as PNG and PDF.

Figures are made without pyplot: no window system, no global state.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
GENUINE, IMPOSTOR = COLORS[0], COLORS[1]

Scores = tuple[np.ndarray, np.ndarray]
"""``(genuine, score)`` of all pairs: bool and float, ``[N]``."""


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """Make a figure, sizes in inches, with a list of its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes:
        ax.grid(visible=True, color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def panels(number: int) -> tuple[int, int]:
    """Give the rows and columns in which so many panels stand."""
    columns = 2 if number == 4 else min(number, 3)
    return -(-number // columns), columns


def line_style(index: int) -> dict[str, Any]:
    """Give colour and dashes of the model of this index, the same in every plot."""
    return {
        "color": COLORS[index % len(COLORS)],
        "linestyle": STYLES[index // len(COLORS) % len(STYLES)],
        "linewidth": 1.4,
    }


def add_legend(figure: Figure, ax: Axes) -> None:
    """Put the legend of one of the axes below the figure, where it covers nothing."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) < 40 else 1
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        What to write.
    folder
        Where; made if it does not exist.
    name
        The files' name before ``.png`` and ``.pdf``.

    Returns
    -------
        The two files.
    """
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
    genuine, values = scores
    far, tar, _ = roc_curve(genuine, values, drop_intermediate=False)
    return far, tar


def percent(value: float, _: object = None) -> str:
    """Write a fraction in per cent, as a tick."""
    return f"{value * 100:g}"


def plot_roc(scores: Mapping[str, Scores], title: str) -> Figure:
    """Plot the true against the false accept rate, the latter on a logarithmic axis.

    The axis begins at one false accept among the impostor pairs: below it nothing is measured.

    Parameters
    ----------
    scores
        For each model its pairs.
    title
        The benchmark.
    """
    figure, (ax,) = new_figure(5.2, 4.0 + 0.2 * len(scores))
    lowest = 1.0
    for index, (label, pairs) in enumerate(scores.items()):
        far, tar = _error_rates(pairs)
        lowest = min(lowest, 1.0 / max(int((~pairs[0]).sum()), 1))
        ax.step(far, tar, where="post", label=label, **line_style(index))
    ax.set_xscale("log")
    ax.set_xlim(lowest, 1.0)
    ax.set_ylim(0.0, 1.01)
    ax.xaxis.set_major_formatter(FuncFormatter(percent))
    ax.yaxis.set_major_formatter(FuncFormatter(percent))
    ax.set_xlabel("false accept rate (%)")
    ax.set_ylabel("true accept rate (%)")
    ax.set_title(f"ROC, {title}", fontsize=10)
    add_legend(figure, ax)
    return figure


def plot_det(scores: Mapping[str, Scores], title: str) -> Figure:
    """Plot the false reject against the false accept rate, both on normal-deviate axes.

    Parameters
    ----------
    scores
        For each model its pairs.
    title
        The benchmark.
    """
    figure, (ax,) = new_figure(5.2, 4.0 + 0.2 * len(scores))
    lowest = 0.4
    for index, (label, pairs) in enumerate(scores.items()):
        far, tar = _error_rates(pairs)
        inside = (far > 0) & (far < 1) & (tar > 0) & (tar < 1)
        lowest = min(lowest, 1.0 / max(int((~pairs[0]).sum()), int(pairs[0].sum()), 1))
        ax.plot(norm.ppf(far[inside]), norm.ppf(1 - tar[inside]), label=label, **line_style(index))
    ticks = [t for t in (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if t >= lowest]
    limits = norm.ppf([lowest, 0.9])
    ax.plot(limits, limits, color="0.8", linewidth=0.8, zorder=0)  # where both errors are equal
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    ax.set_xticks(norm.ppf(ticks), [percent(t) for t in ticks])
    ax.set_yticks(norm.ppf(ticks), [percent(t) for t in ticks])
    ax.set_xlabel("false accept rate (%)")
    ax.set_ylabel("false reject rate (%)")
    ax.set_title(f"DET, {title}", fontsize=10)
    add_legend(figure, ax)
    return figure


def plot_histograms(scores: Mapping[str, Scores], title: str) -> Figure:
    """Plot the scores of genuine and impostor pairs, one panel a model, on one common axis.

    Parameters
    ----------
    scores
        For each model its pairs.
    title
        The benchmark.
    """
    rows, columns = panels(len(scores))
    figure, axes = new_figure(0.8 + 3.0 * columns, 0.7 + 2.1 * rows, rows, columns)
    every = np.concatenate([values for _, values in scores.values()])
    bins = np.linspace(every.min(), max(every.max(), every.min() + 1e-6), 41)
    for ax, (label, (genuine, values)) in zip(axes, scores.items(), strict=False):
        for mask, name, color in (
            (genuine, "genuine", GENUINE),
            (~genuine, "impostor", IMPOSTOR),
        ):
            counts, _ = np.histogram(values[mask], bins)
            ax.stairs(counts, bins, fill=True, color=color, alpha=0.55, label=name)
        ax.set_title(label, fontsize=8)
        ax.tick_params(labelsize=7)
    for ax in axes[len(scores) :]:
        ax.remove()
    axes[0].legend(fontsize=7, frameon=False)
    figure.suptitle(f"scores, {title}", fontsize=10)
    figure.supxlabel("score (cosine similarity - 1)", fontsize=8)
    figure.supylabel("pairs", fontsize=8)
    return figure
