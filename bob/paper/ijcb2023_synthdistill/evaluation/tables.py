"""A table of quantities, and its three forms: Markdown, LaTeX and CSV.

Measured and published values never look alike: a published row is set in italics with the number of
its source, in CSV it says so in the column ``kind``. What is unknown is an empty cell.
"""

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..files import atomic_write

METRICS = ("accuracy", "eer", "tar@1e-2", "tar@1e-3", "tar@1e-4")
"""What a table can show of a benchmark; ``tar@FAR`` is the true accept rate at a false one."""


@dataclass(frozen=True)
class Quantity:
    """A number, with its deviation where there is one.

    Parameters
    ----------
    value
        In its base unit: a fraction, a count, bytes, seconds.
    deviation
        In the same unit; the table's notes say over what.
    """

    value: float
    deviation: float | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    key
        The name under which rows hold their values; the CSV header.
    title
        What stands over it, with the unit that ``scale`` makes.
    scale
        Printed number = value times scale. CSV holds the value itself.
    decimals
        Digits after the decimal point.
    """

    key: str
    title: str
    scale: float = 1.0
    decimals: int = 2


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Parameters
    ----------
    label
        What stands in the first column.
    values
        For each column key a quantity or a text. A key that is missing or None is an empty cell.
    kind
        Whether all of its values were measured by us or published by others.
    section
        Rows of one section stand together under its name.
    source
        Of a published row: where its values were read.
    """

    label: str
    values: dict[str, Quantity | str | None] = field(default_factory=dict)
    kind: Literal["measured", "published"] = "measured"
    section: str = ""
    source: str = ""


@dataclass(frozen=True)
class Table:
    """Rows and columns, with a title and notes.

    Parameters
    ----------
    title
        One line: what the table shows.
    columns
        After the first one, which holds the labels.
    rows
        In order. Sections come in the order in which they first appear.
    notes
        What the reader must know, a sentence each.
    """

    title: str
    columns: list[Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def sections(self) -> list[tuple[str, list[Row]]]:
        """Give ``(name, rows)`` of each section, in order of first appearance."""
        names = dict.fromkeys(row.section for row in self.rows)
        return [(name, [r for r in self.rows if r.section == name]) for name in names]

    def sources(self) -> dict[str, int]:
        """Give the number of each source, in the order in which the table names them."""
        ordered = [r for _, rows in self.sections() for r in rows if r.kind == "published"]
        return {source: n for n, source in enumerate(dict.fromkeys(r.source for r in ordered), 1)}

    def cell(self, row: Row, column: Column, plus_minus: str = " ± ") -> str:
        """Write one cell in the column's unit; empty when the row does not know it."""
        value = row.values.get(column.key)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        text = f"{value.value * column.scale:.{column.decimals}f}"
        if value.deviation is None:
            return text
        return f"{text}{plus_minus}{value.deviation * column.scale:.{column.decimals}f}"


PUBLISHED_NOTE = (
    "Rows in italics are published values, not measured here; the number is their source."
)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def to_markdown(table: Table) -> str:
    """Write a table as GitHub Markdown: published rows in italics with the number of the source."""
    sources = table.sources()
    several = len(table.sections()) > 1

    def published(text: str) -> str:
        return f"*{text}*" if text else ""

    lines: list[list[str]] = []
    for name, rows in table.sections():
        if several and name:
            lines.append([f"**{_escape_markdown(name)}**", *([""] * len(table.columns))])
        for row in rows:
            cells = [_escape_markdown(table.cell(row, column)) for column in table.columns]
            label = _escape_markdown(row.label)
            if row.kind == "published":
                cells = [published(cell) for cell in cells]
                label = f"{published(label)} [{sources[row.source]}]"
            lines.append([label, *cells])
    header = ["", *(_escape_markdown(column.title) for column in table.columns)]
    # the name of a section may be long, and stands alone in its line
    rows_only = [line for line in [header, *lines] if not line[0].startswith("**")]
    widths = [max(len(line[i]) for line in rows_only) for i in range(len(header))]

    def join(line: list[str]) -> str:
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = [":" + "-" * max(widths[0] - 1, 2), *("-" * max(w - 1, 2) + ":" for w in widths[1:])]
    parts = [f"**{_escape_markdown(table.title)}**", ""]
    parts += [join(header), f"| {' | '.join(rule)} |", *(join(line) for line in lines)]
    notes = [_escape_markdown(note) for note in table.notes]
    notes += [PUBLISHED_NOTE] if sources else []
    notes += [f"[{number}] {_escape_markdown(source)}" for source, number in sources.items()]
    for note in notes:
        parts += ["", note]
    return "\n".join(parts) + "\n"


LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
}


def escape_latex(text: str) -> str:
    """Write a text so that LaTeX prints it as it stands."""
    return "".join(LATEX.get(character, character) for character in text)


def to_latex(table: Table) -> str:
    """Write a table for LaTeX with booktabs: published rows in italics, numbered sources below."""
    sources = table.sources()
    several = len(table.sections()) > 1
    width = 1 + len(table.columns)

    def published(text: str) -> str:
        return rf"\textit{{{text}}}" if text else ""

    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(table.title)}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"    \toprule",
        "    " + " & ".join(["", *(escape_latex(c.title) for c in table.columns)]) + r" \\",
    ]
    for name, rows in table.sections():
        lines.append(r"    \midrule")
        if several and name:
            lines.append(rf"    \multicolumn{{{width}}}{{l}}{{{escape_latex(name)}}} \\")
        for row in rows:
            cells = [escape_latex(table.cell(row, column)) for column in table.columns]
            label = escape_latex(row.label)
            if row.kind == "published":
                cells = [published(cell) for cell in cells]
                label = rf"{published(label)}\textsuperscript{{{sources[row.source]}}}"
            lines.append("    " + " & ".join([label, *cells]) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    notes = [escape_latex(note) for note in table.notes]
    notes += [escape_latex(PUBLISHED_NOTE)] if sources else []
    notes += [
        rf"\textsuperscript{{{number}}} {escape_latex(source)}"
        for source, number in sources.items()
    ]
    if notes:
        # a minipage, so that the notes stay with the table and no package is needed
        lines += [r"", r"  \smallskip", r"  \begin{minipage}{\linewidth}\footnotesize"]
        lines += [rf"    {note}\par" for note in notes]
        lines += [r"  \end{minipage}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_csv(table: Table) -> str:
    """Write a table as CSV: base units (fractions, counts, bytes, seconds), full precision.

    The columns ``kind`` and ``source`` say of each row whether it was measured. A quantity that has
    a deviation somewhere in the table gets a second column, ``KEY_std``.
    """
    deviates = {
        column.key: any(
            isinstance(value := row.values.get(column.key), Quantity)
            and value.deviation is not None
            for row in table.rows
        )
        for column in table.columns
    }
    header = ["section", "model", "kind"]
    for key, deviation in deviates.items():
        header += [key, f"{key}_std"] if deviation else [key]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*header, "source"])
    for row in table.rows:
        cells: list[str] = []
        for key, deviation in deviates.items():
            value = row.values.get(key)
            if isinstance(value, Quantity):
                cells.append(repr(value.value))
                rest = "" if value.deviation is None else repr(value.deviation)
            else:
                cells.append(value or "")
                rest = ""
            cells += [rest] if deviation else []
        writer.writerow([row.section, row.label, row.kind, *cells, row.source])
    return stream.getvalue()


def write_table(table: Table, folder: Path, name: str = "table") -> list[Path]:
    """Write a table as Markdown, LaTeX and CSV.

    Parameters
    ----------
    table
        What to write.
    folder
        Where; made if it does not exist.
    name
        The files' name before ``.md``, ``.tex`` and ``.csv``.

    Returns
    -------
        The three files.
    """
    written = []
    for suffix, render in ((".md", to_markdown), (".tex", to_latex), (".csv", to_csv)):
        path = folder / f"{name}{suffix}"
        with atomic_write(path) as temporary:
            temporary.write_text(render(table), encoding="utf-8")
        written.append(path)
    return written
