"""Plots of scores, of trainings, and of accuracy against a property: PNG and PDF.

Figures are made without pyplot: no window system, no global state. Measured values are filled
marks; published ones are hollow grey squares.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.stats import norm
from sklearn.metrics import roc_curve

from ..files import atomic_write

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette: told apart by colour-blind readers."""

LINES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
"""As many as have no divisor with the colours, which grey print does not show."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

Styles = Mapping[str, Mapping[str, Any]]


def styles(labels: Iterable[str]) -> Styles:
    """Give each model one colour and one line style, for all plots of a table."""
    return {
        label: {"color": COLORS[i % len(COLORS)], "linestyle": LINES[i % len(LINES)]}
        for i, label in enumerate(labels)
    }


def _figure(
    width: float, height: float, panels: int = 1, legend: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels, each of this size, and the height of a legend, in inches."""
    columns = 2 if panels == 4 else min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows + legend), layout="constrained")
    axes = [figure.add_subplot(rows, columns, place) for place in range(1, panels + 1)]
    for ax in axes:
        ax.grid(visible=True, color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: Figure, ax: Axes) -> None:
    """Put the legend of one of the axes below the figure, where it covers nothing."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) < 40 else 1
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "handlelength": 3.5}
    figure.legend(handles, labels, fontsize=8, frameon=False, **place)


def _percent(value: float, _: object = None) -> str:
    return f"{value * 100:g}"


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as NAME.png and NAME.pdf; the same figure gives the same bytes."""
    written = []
    # no date in the files, so that an unchanged plot is an unchanged file
    for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
        path = folder / f"{name}.{kind}"
        # 42: TrueType, which journals take and editors can edit
        with atomic_write(path) as temporary, mpl.rc_context({"pdf.fonttype": 42}):
            figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)
        written.append(path)
        # found once: it takes as long as the drawing
        figure.set_layout_engine("none")
    return written


def plot_rates(
    kind: Literal["ROC", "DET"], scores: Mapping[str, pd.DataFrame], title: str, style: Styles
) -> Figure:
    """Plot each model's true accept (ROC) or false reject rate (DET) against its false accept rate.

    The latter is on a logarithmic axis (ROC), or both are on normal-deviate axes (DET). These begin
    at one error among the pairs: below it nothing is measured.
    """
    figure, (ax,) = _figure(5.2, 4.0, legend=0.2 * len(scores))
    det = kind == "DET"
    look: dict[str, Any] = {"drawstyle": "default" if det else "steps-post", "linewidth": 1.4}
    for label, pairs in scores.items():
        # pairs that never match stand with the least alike
        values = pairs["score"].clip(lower=-2.0)
        far, tar, _ = roc_curve(pairs["genuine"], values, drop_intermediate=False)
        ax.plot(far, 1 - tar if det else tar, label=label, **look, **style[label])
    if det:
        lowest = min(0.4, *(1 / max(pairs["genuine"].value_counts()) for pairs in scores.values()))
        ticks = [t for t in (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if t >= lowest]
        limits = (lowest, 0.9)
        ax.set_xscale("function", functions=(norm.ppf, norm.cdf))
        ax.set_yscale("function", functions=(norm.ppf, norm.cdf))
        ax.set(xlim=limits, xticks=ticks, ylim=limits, yticks=ticks)
        ax.set_ylabel("false reject rate (%)")
        ax.plot(limits, limits, color="0.8", linewidth=0.8, zorder=0)  # where both errors are equal
    else:
        lowest = min(1 / max((~pairs["genuine"]).sum(), 1) for pairs in scores.values())
        ax.set(xscale="log", xlim=(lowest, 1.0), ylim=(0.0, 1.01), ylabel="true accept rate (%)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(_percent))
    ax.set_xlabel("false accept rate (%)")
    ax.set_title(f"{kind}, {title}", fontsize=10)
    _legend(figure, ax)
    return figure


def plot_histograms(scores: Mapping[str, pd.DataFrame], title: str, _: Styles) -> Figure:
    """Plot the scores of genuine and impostor pairs, one panel a model, on one common axis."""
    figure, axes = _figure(3.2, 2.1, len(scores), legend=0.8)
    every = pd.concat(scores.values())["score"].clip(lower=-2.0)
    bins = np.linspace(every.min(), max(every.max(), every.min() + 1e-6), 41)
    for ax, (label, pairs) in zip(axes, scores.items(), strict=True):
        values = pairs["score"].clip(lower=-2.0)
        genuine = np.histogram(values[pairs["genuine"]], bins)[0]
        impostor = np.histogram(values[~pairs["genuine"]], bins)[0]
        ax.stairs(genuine, bins, fill=True, color=COLORS[0], alpha=0.5, label="genuine pairs")
        ax.stairs(impostor, bins, color=COLORS[1], linewidth=1.4, label="impostor pairs")
        ax.set_title(label, fontsize=8)
        ax.locator_params("x", nbins=5)
        ax.tick_params(labelsize=7)
    axes[0].legend(fontsize=7, frameon=False, loc="upper left")
    figure.suptitle(f"scores, {title}", fontsize=10)
    figure.supxlabel("score: cosine of two embeddings, less 1", fontsize=8)
    figure.supylabel("pairs", fontsize=8)
    return figure


SCORE_PLOTS: dict[str, Callable[[Mapping[str, pd.DataFrame], str, Styles], Figure]] = {
    "roc": partial(plot_rates, "ROC"),
    "det": partial(plot_rates, "DET"),
    "histogram": plot_histograms,
}
"""The plots of each benchmark, by the beginning of their files' names."""


def plot_training(logs: Mapping[str, pd.DataFrame], style: Styles) -> Figure | None:
    """Plot losses and cosines of each run's ``log.csv``, if there are any, against images."""
    names = [
        name
        for name in dict.fromkeys(column for log in logs.values() for column in log)
        if any(word in name for word in ("loss", "mse", "cosine"))
        and any(name in log and log[name].notna().any() for log in logs.values())
    ]
    if not names:
        return None
    figure, axes = _figure(3.4, 2.7, len(names), legend=0.2 * len(logs))
    for ax, name in zip(axes, names, strict=True):
        for label, log in logs.items():
            if name in log:
                thousands = log["images"] / 1000
                ax.plot(thousands, log[name], label=label, marker=".", **style[label])
        if "cosine" not in name:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        # static sampling draws the second batch afresh, and logs it in the same column
        what = {"fresh": "first batch", "resampled": "second batch"}
        ax.set_title(" ".join(what.get(word, word) for word in name.split("_")), fontsize=9)
        ax.set_xlabel("images (thousands)", fontsize=8)
        ax.tick_params(which="both", labelsize=7)
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
    by_section: bool = False,
) -> Figure | None:
    """Plot a metric against a property of the models, if any row knows both.

    ``rows`` are those of a table; published ones may know ``mflops`` where ``x`` is
    ``multiply_adds``. ``columns`` are the metric's, with their titles; points of a single one have
    the rows' names. y is printed in per cent. A line goes through measured points if ``joined``;
    ``by_section`` through those of each section.
    """
    keys = [*columns, *(f"{key}_std" for key in columns), x, "mflops"]
    numbers = rows.reindex(columns=keys).apply(pd.to_numeric)
    where = numbers[x]
    if x == "multiply_adds":
        where = where.fillna(numbers["mflops"] * 1e6)
    figure, (ax,) = _figure(7.4, 4.2)
    names: list[str] = []
    curves = [(key, name, True) for key, name in columns.items()]
    if by_section:
        sections = rows["section"]
        curves = [(key, s, sections == s) for key in columns for s in sections.unique()]
    for index, (key, name, of_curve) in enumerate(curves):
        y, deviation = numbers[key], numbers[f"{key}_std"].fillna(0)
        known = rows.assign(x=where, y=y, deviation=deviation)
        known = known[of_curve & where.notna() & y.notna()]
        ours = known[known["kind"] == "measured"].sort_values("x", kind="stable")
        theirs = known[known["kind"] == "published"]
        if len(ours):
            look: dict[str, Any] = {"markersize": 5, "capsize": 2.5, "elinewidth": 0.8}
            look |= {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]}
            look |= {"linestyle": LINES[index % len(LINES)] if joined else "none", "linewidth": 1.2}
            label = name if theirs.empty else f"{name}, measured"
            ax.errorbar(ours["x"], ours["y"], yerr=ours["deviation"], label=label, **look)
        for row in ours.itertuples() if len(curves) == 1 else ():
            _annotate(ax, row, row.model, color="black")
        for row in theirs.itertuples():
            # published models stand close together: numbers, and their names beside the plot
            names.append(row.model)
            _annotate(ax, row, str(len(names)), color="0.45", fontstyle="italic")
        if len(theirs):
            hollow: dict[str, Any] = {
                "marker": "s",
                "markersize": 4.5,
                "markerfacecolor": "none",
                "color": "0.5",
            }
            label = f"{name}, published"
            ax.plot(theirs["x"], theirs["y"], linestyle="none", label=label, **hollow)
    if not ax.has_data():
        return None
    ax.yaxis.set_major_formatter(FuncFormatter(_percent))
    ax.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if logarithmic else "linear")
    ax.set_title(title, fontsize=10)
    listed = "\n".join(f"{number}  {name}" for number, name in enumerate(names, 1))
    ax.plot([], [], linestyle="none", label=listed)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7, frameon=False)
    return figure


def _annotate(ax: Axes, row: Any, text: str, **style: Any) -> None:
    ax.annotate(
        text, (row.x, row.y), xytext=(4, 3), textcoords="offset points", fontsize=6.5, **style
    )
