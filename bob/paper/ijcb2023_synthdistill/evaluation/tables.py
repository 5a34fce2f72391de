"""A table of measured and published rows, and its three forms: Markdown, LaTeX and CSV.

Measured and published values never look alike: a published row is set in italics with the number of
its source, in CSV it says so in the column ``kind``. What is unknown is an empty cell.
"""

import re
from collections.abc import Callable, Iterator
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
    """A column: the key of its values, which is the CSV header, and the title with the unit.

    The printed number is the value times ``scale``; CSV holds the value itself.
    """

    key: str
    title: str
    scale: float = 1.0
    decimals: int = 2

    def cell(self, row: dict[str, Any]) -> str:
        """Write a row's value, and its deviation, in the column's unit; empty if unknown."""
        ends = ("", "_std", "_low", "_high")
        value, deviation, low, high = (row.get(f"{self.key}{end}") for end in ends)
        if isinstance(value, str) or pd.isna(value):
            return value if isinstance(value, str) else ""

        def told(number: Any) -> str:
            return f"{number * self.scale:{'' if pd.isna(low) else '+'}.{self.decimals}f}"

        text = told(value) + ("" if pd.isna(deviation) else f" ± {told(deviation)}")
        return text + ("" if pd.isna(low) else f" [{told(low)}, {told(high)}]")


@dataclass(frozen=True)
class Table:
    """Rows and columns after the models' names, with a title and notes, a sentence each.

    ``rows`` have the columns ``section``, ``model``, ``kind`` (measured or published), ``source``
    (of published rows), and for each key a number in its base unit (a fraction, a count, bytes,
    seconds) or a text; ``KEY_std`` is a number's deviation, ``KEY_never_match`` how many pairs
    could only be counted as different.
    """

    title: str
    columns: list[Column]
    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def sources(self) -> dict[str, int]:
        """Give the number of each source, in the order in which the table names them."""
        ordered = [rows["source"] for _, rows in self.rows.groupby("section", sort=False)]
        named = [source for sources in ordered for source in sources if source]
        return {source: number for number, source in enumerate(dict.fromkeys(named), 1)}

    def sections(
        self, escape: Callable[[str], str], italic: str, reference: str, bold: str
    ) -> Iterator[tuple[str, list[list[str]]]]:
        """Give name and rows of each section, in the words of a language.

        ``escape`` writes plain text; ``italic`` and ``reference`` are formats of published cells
        and of the number of their source, ``bold`` of values whose interval excludes zero. A
        section that is the only one has no name.
        """
        groups, sources = self.rows.groupby("section", sort=False), self.sources()
        for name, rows in groups:
            lines = []
            for row in rows.to_dict("records"):
                cells = [escape(row["model"]), *(escape(c.cell(row)) for c in self.columns)]
                for place, column in enumerate(self.columns, 1):
                    low, high = (row.get(f"{column.key}{end}") for end in ("_low", "_high"))
                    if pd.notna(low) and not low <= 0 <= high:
                        cells[place] = bold.format(cells[place])
                if row["kind"] == "published":
                    cells = [italic.format(text) if text else "" for text in cells]
                    cells[0] += reference.format(sources[row["source"]])
                lines.append(cells)
            yield escape(str(name)) if len(groups) > 1 else "", lines

    def footnotes(self, escape: Callable[[str], str], reference: str) -> list[str]:
        """Give what stands below: notes and sources."""
        sources = self.sources()
        notes = [*self.notes, PUBLISHED_NOTE] if sources else self.notes
        listed = [f"{reference.format(n)} {escape(text)}" for text, n in sources.items()]
        return [*map(escape, notes), *listed]


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def to_markdown(table: Table) -> str:
    """Write a table as GitHub Markdown: published rows in italics with the number of the source."""
    lines = [["", *(_escape_markdown(column.title) for column in table.columns)]]
    headlines = []
    for name, rows in table.sections(_escape_markdown, "*{}*", " [{}]", "**{}**"):
        if name:
            lines.append([f"**{name}**", *([""] * len(table.columns))])
            headlines.append(lines[-1][0])
        lines += rows
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
    notes = table.footnotes(_escape_markdown, "[{}]")
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
    lines = [
        r"% needs \usepackage{booktabs,adjustbox}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(table.title)}}}",
        r"  \begin{adjustbox}{max width=\linewidth}",
        rf"  \begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"    \toprule",
        "    " + " & ".join(["", *(escape_latex(c.title) for c in table.columns)]) + r" \\",
    ]
    styles = r"\textit{{{}}}", r"\textsuperscript{{{}}}", r"\textbf{{{}}}"
    for name, rows in table.sections(escape_latex, *styles):
        lines.append(r"    \midrule")
        if name:
            lines.append(rf"    \multicolumn{{{1 + len(table.columns)}}}{{l}}{{{name}}} \\")
        lines += ["    " + " & ".join(row) + r" \\" for row in rows]
    lines += [r"    \bottomrule", r"  \end{tabular}", r"  \end{adjustbox}"]
    if notes := table.footnotes(escape_latex, r"\textsuperscript{{{}}}"):
        # a minipage, so that the notes stay with the table and no package is needed
        lines += ["", r"  \smallskip", r"  \begin{minipage}{\linewidth}\footnotesize"]
        lines += [rf"    {note}\par" for note in notes]
        lines += [r"  \end{minipage}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_csv(table: Table) -> str:
    """Write a table as CSV: base units (fractions, counts, bytes, seconds), full precision.

    The columns ``kind`` and ``source`` say of each row whether it was measured. Deviations,
    intervals and numbers of pairs that never match stand in columns of their own if there are any.
    """
    rows, kept = table.rows, []
    for column in table.columns:
        suffixes = ("std", "never_match", "low", "high", "p")
        further = (f"{column.key}_{suffix}" for suffix in suffixes)
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
