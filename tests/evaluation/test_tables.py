import csv
import io

import pandas as pd
import pytest

from bob.paper.ijcb2023_synthdistill.evaluation.tables import (
    Column,
    Table,
    escape_latex,
    to_csv,
    to_latex,
    to_markdown,
    write_table,
)


@pytest.fixture
def small_table():
    columns = [Column("parameters", "parameters (M)", 1e-6, 1), Column("lfw", "LFW", 100.0, 2)]
    theirs = {"section": "theirs (100 %)", "kind": "published", "source": "A paper, p. 3"}
    ours = {"section": "ours", "kind": "measured", "source": ""}
    rows = [
        {**ours, "model": "mine_1 & co", "parameters": 1.25e6, "lfw": 0.99519, "lfw_std": 0.0034},
        {**ours, "model": "not evaluated", "lfw": None},
        {**theirs, "model": "Theirs*", "lfw": 0.9977},
        {**theirs, "model": "Other", "lfw": 0.9},
        {**theirs, "model": "Third", "source": "A_page"},
    ]
    return Table("50 % & more", columns, pd.DataFrame(rows, dtype=object), ["a note"])


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def test_markdown_tells_measured_from_published(small_table, tmp_path):
    written = write_table(small_table, tmp_path / "new")
    assert [path.name for path in written] == ["table.md", "table.tex", "table.csv"]
    lines = written[0].read_text(encoding="utf-8").splitlines()
    grid = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in grid} == {4}
    rows = {_cells(line)[0]: _cells(line)[1:] for line in grid}
    assert rows["mine\\_1 & co"] == ["1.2", "99.52 ± 0.34"]
    assert rows["not evaluated"] == ["", ""]
    assert rows["*Theirs\\** [1]"] == ["", "*99.77*"]
    assert rows["*Other* [1]"] == ["", "*90.00*"]
    # an unknown cell is empty, not an empty pair of asterisks
    assert rows["*Third* [2]"] == ["", ""]
    assert {"[1] A paper, p. 3", "[2] A\\_page", "a note"} < set(lines)
    assert rows["**theirs (100 %)**"] == ["", ""]
    # a single section needs no headline, and nothing is said of what is not there
    ours = to_markdown(Table("t", small_table.columns, small_table.rows[:2]))
    assert "published" not in ours
    assert "**ours**" not in ours


def test_latex_is_escaped_and_balanced(small_table):
    text = to_latex(small_table)
    assert r"mine\_1 \& co & 1.2 & 99.52 $\pm$ 0.34 \\" in text
    assert r"\textit{Theirs*}\textsuperscript{1} &  & \textit{99.77} \\" in text
    assert r"\caption{50 \% \& more}" in text
    assert r"theirs (100 \%)" in text
    for name in ("table", "tabular", "minipage", "adjustbox"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [
        line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line
    ]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {2}
    assert escape_latex("a_b%c$d#e{f}g&h~i^j\\k") == (
        r"a\_b\%c\$d\#e\{f\}g\&h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"
    )


def test_intervals(small_table):
    column = Column("gap", "LFW, difference", 100.0)
    rows = small_table.rows[:2].assign(gap=[0.012, -0.01], gap_low=[0.004, -0.03], gap_high=0.02)
    table = Table("t", [column], rows)
    assert r"**+1.20 \[+0.40, +2.00\]** |" in to_markdown(table)
    assert r" -1.00 \[-3.00, +2.00\] |" in to_markdown(table)
    assert r"\textbf{+1.20 [+0.40, +2.00]} \\" in to_latex(table)
    assert "gap,gap_low,gap_high,source" in to_csv(table)


def test_csv_holds_base_units_and_the_kind(small_table):
    rows = list(csv.DictReader(io.StringIO(to_csv(small_table))))
    names = ["section", "model", "kind", "parameters", "lfw", "lfw_std", "source"]
    assert list(rows[0]) == names
    assert list(rows[0].values())[2:-1] == ["measured", "1250000.0", "0.99519", "0.0034"]
    assert rows[1]["lfw"] == ""
    assert list(rows[2].values())[2:] == ["published", "", "0.9977", "", "A paper, p. 3"]
