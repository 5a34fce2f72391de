"""A table of measured and published rows, and its three forms: Markdown, LaTeX and CSV.

Measured and published values never look alike: a published row is set in italics with the number of
its source, in CSV it says so in the column ``kind``. What is unknown is an empty cell.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import atomic_write

PUBLISHED_NOTE = (
    "Rows in italics are published values, not measured here; the number is their source."
)


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
class Table:
    """Rows and columns, with a title and notes.

    Parameters
    ----------
    title
        One line: what the table shows.
    columns
        After the first one, which holds the models' names.
    rows
        Columns ``section``, ``model``, ``kind`` (measured or published), ``source`` (of published
        rows), and for each key a number in its base unit (a fraction, a count, bytes, seconds) or
        a text; ``KEY_std`` is a number's deviation, ``KEY_never_match`` how many pairs could only
        be counted as different.
    notes
        What the reader must know, a sentence each.
    """

    title: str
    columns: list[Column]
    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def sections(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Give name and rows of each section, in order of first appearance."""
        groups = self.rows.groupby("section", sort=False)
        return [(str(name), rows.to_dict("records")) for name, rows in groups]

    def sources(self) -> dict[str, int]:
        """Give the number of each source, in the order in which the table names them."""
        named = [row["source"] for _, rows in self.sections() for row in rows if row["source"]]
        return {source: number for number, source in enumerate(dict.fromkeys(named), 1)}

    def cells(self, row: dict[str, Any]) -> list[str]:
        """Write a row's cells in the columns' units; empty where it does not know them."""
        return [_cell(row.get(c.key), row.get(f"{c.key}_std"), c) for c in self.columns]


def _cell(value: Any, deviation: Any, column: Column) -> str:
    if isinstance(value, str) or pd.isna(value):
        return value if isinstance(value, str) else ""
    text = f"{value * column.scale:.{column.decimals}f}"
    if pd.isna(deviation):
        return text
    return f"{text} ± {deviation * column.scale:.{column.decimals}f}"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def to_markdown(table: Table) -> str:
    """Write a table as GitHub Markdown: published rows in italics with the number of the source."""
    sources, sections = table.sources(), table.sections()
    lines = [["", *(_escape_markdown(column.title) for column in table.columns)]]
    headlines: list[str] = []
    for name, rows in sections:
        if len(sections) > 1 and name:
            lines.append([f"**{_escape_markdown(name)}**", *([""] * len(table.columns))])
            headlines.append(lines[-1][0])
        for row in rows:
            line = [_escape_markdown(text) for text in (row["model"], *table.cells(row))]
            if row["kind"] == "published":
                line = [f"*{text}*" if text else "" for text in line]
                line[0] += f" [{sources[row['source']]}]"
            lines.append(line)
    # the name of a section may be long, and stands alone in its line
    first, *widths = (
        max(len(text) for text in texts if text not in headlines)
        for texts in zip(*lines, strict=True)
    )
    padded = [
        [line[0].ljust(first), *(t.rjust(w) for t, w in zip(line[1:], widths, strict=True))]
        for line in lines
    ]
    padded[1:1] = [[":" + "-" * max(first - 1, 2), *("-" * max(w - 1, 2) + ":" for w in widths)]]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in padded)
    notes = [_escape_markdown(note) for note in table.notes]
    notes += [PUBLISHED_NOTE] if sources else []
    notes += [f"[{number}] {_escape_markdown(source)}" for source, number in sources.items()]
    return "\n\n".join([f"**{_escape_markdown(table.title)}**", grid, *notes]) + "\n"


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "{}&%$#_"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"±": r"$\pm$", "×": r"$\times$", "–": "--"}
)


def escape_latex(text: str) -> str:
    """Write a text so that LaTeX prints it as it stands."""
    return text.translate(_LATEX)


def to_latex(table: Table) -> str:
    """Write a table for LaTeX with booktabs: published rows in italics, numbered sources below."""
    sources, sections = table.sources(), table.sections()
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(table.title)}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"    \toprule",
        "    " + " & ".join(["", *(escape_latex(c.title) for c in table.columns)]) + r" \\",
    ]
    for name, rows in sections:
        lines.append(r"    \midrule")
        if len(sections) > 1 and name:
            headline = rf"\multicolumn{{{1 + len(table.columns)}}}{{l}}{{{escape_latex(name)}}}"
            lines.append(rf"    {headline} \\")
        for row in rows:
            line = [escape_latex(text) for text in (row["model"], *table.cells(row))]
            if row["kind"] == "published":
                line = [rf"\textit{{{text}}}" if text else "" for text in line]
                line[0] += rf"\textsuperscript{{{sources[row['source']]}}}"
            lines.append("    " + " & ".join(line) + r" \\")
    notes = [escape_latex(note) for note in table.notes]
    notes += [escape_latex(PUBLISHED_NOTE)] if sources else []
    notes += [rf"\textsuperscript{{{n}}} {escape_latex(text)}" for text, n in sources.items()]
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if notes:
        # a minipage, so that the notes stay with the table and no package is needed
        lines += ["", r"  \smallskip", r"  \begin{minipage}{\linewidth}\footnotesize"]
        lines += [rf"    {note}\par" for note in notes]
        lines += [r"  \end{minipage}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_csv(table: Table) -> str:
    """Write a table as CSV: base units (fractions, counts, bytes, seconds), full precision.

    The columns ``kind`` and ``source`` say of each row whether it was measured. Deviations, and
    numbers of pairs that never match, stand in columns of their own if there are any.
    """
    rows = table.rows
    kept = []
    for column in table.columns:
        further = (f"{column.key}_{suffix}" for suffix in ("std", "never_match"))
        kept += [column.key, *(key for key in further if key in rows and rows[key].notna().any())]
    wanted = rows.reindex(columns=["section", "model", "kind", *kept, "source"])
    return wanted.to_csv(index=False, lineterminator="\n")


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.tex`` and ``table.csv`` into a folder, and give their paths."""
    written = []
    for suffix, render in ((".md", to_markdown), (".tex", to_latex), (".csv", to_csv)):
        written.append(folder / f"table{suffix}")
        with atomic_write(written[-1]) as temporary:
            temporary.write_text(render(table), encoding="utf-8")
    return written
