"""Curves: training logs, and accuracy against a property of the model or of its training.

Measured values are filled marks; published ones are hollow grey squares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .plots import COLORS, add_legend, line_style, new_figure, panels, percent

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def plot_training(logs: Mapping[str, pd.DataFrame]) -> Figure | None:
    """Plot the training curves: each loss and cosine of ``log.csv`` against images or epochs.

    Parameters
    ----------
    logs
        For each run its log.

    Returns
    -------
        The figure, or None when no log holds such a column.
    """
    wanted = ("loss", "mse", "cosine")
    names = dict.fromkeys(
        column
        for log in logs.values()
        for column in log.columns
        if any(word in column.lower() for word in wanted)
        and pd.api.types.is_numeric_dtype(log[column])
        and log[column].notna().any()
    )
    if not names:
        return None
    rows, columns = panels(len(names))
    figure, axes = new_figure(3.4 * columns, 2.7 * rows + 0.2 * len(logs), rows, columns)
    for ax, name in zip(axes, names, strict=False):
        for index, (label, log) in enumerate(logs.items()):
            if name in log:
                x = log["images"] if "images" in log else log["epoch"]
                ax.plot(x, log[name], label=label, marker=".", markersize=4, **line_style(index))
        if "loss" in name.lower() or "mse" in name.lower():
            ax.set_yscale("log")
        ax.set_title(name.replace("_", " "), fontsize=9)
        ax.set_xlabel("images" if all("images" in log for log in logs.values()) else "epoch")
        ax.tick_params(which="both", labelsize=7)
    for ax in axes[len(names) :]:
        ax.remove()
    add_legend(figure, axes[0])
    return figure


@dataclass(frozen=True)
class Point:
    """One model in a plot of accuracy against something.

    Parameters
    ----------
    x
        Coefficient, number of images, multiply-adds ...
    y
        A fraction, with its deviation where there is one.
    deviation
        In the same unit.
    label
        Written beside the point when not empty.
    published
        Whether others measured it: drawn hollow and grey.
    """

    x: float
    y: float
    deviation: float | None = None
    label: str = ""
    published: bool = False


def plot_points(
    series: Mapping[str, Sequence[Point]],
    xlabel: str,
    ylabel: str,
    *,
    title: str = "",
    log: bool = False,
    joined: bool = True,
) -> Figure:
    """Plot accuracy against a property of the model or of its training.

    Parameters
    ----------
    series
        For each benchmark or group its points.
    xlabel, ylabel
        With the unit; y is printed in per cent.
    title
        Above the plot.
    log
        Logarithmic x axis.
    joined
        Whether a line goes through the measured points, from left to right.
    """
    figure, (ax,) = new_figure(7.4, 4.2)
    measured = 0
    names: list[str] = []
    for name, points in series.items():
        ours = sorted((p for p in points if not p.published), key=lambda p: p.x)
        theirs = [p for p in points if p.published]
        if ours:
            ax.errorbar(
                [p.x for p in ours],
                [p.y for p in ours],
                yerr=[p.deviation or 0.0 for p in ours],
                color=COLORS[measured % len(COLORS)],
                marker=MARKERS[measured % len(MARKERS)],
                linestyle="-" if joined else "none",
                linewidth=1.2,
                markersize=5,
                capsize=2.5,
                elinewidth=0.8,
                label=name if not theirs else f"{name}, measured",
            )
            measured += 1
        for point in ours:
            _annotate(ax, point, point.label, color="black")
        for point in theirs:
            # published models stand close together: numbers, and their names beside the plot
            names.append(point.label)
            _annotate(ax, point, str(len(names)), color="0.45", fontstyle="italic")
        if theirs:
            ax.plot(
                [p.x for p in theirs],
                [p.y for p in theirs],
                marker="s",
                markersize=4.5,
                markerfacecolor="none",
                color="0.5",
                linestyle="none",
                label=f"{name}, published",
            )
    if log:
        ax.set_xscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(percent))
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if title:
        ax.set_title(title, fontsize=10)
    if series:
        ax.plot(
            [], [], linestyle="none", label="\n".join(f"{n}  {m}" for n, m in enumerate(names, 1))
        )
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7, frameon=False)
    return figure


def _annotate(ax: Axes, point: Point, text: str, **style: Any) -> None:
    place = (point.x, point.y)
    ax.annotate(text, place, xytext=(4, 3), textcoords="offset points", fontsize=6.5, **style)
