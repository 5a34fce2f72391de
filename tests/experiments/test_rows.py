"""The declarations are complete, and every row is a command that the others understand."""

from pathlib import Path

import pytest
from rows import TABLES, Settings, load, load_all

from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import benchmarks
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError
from bob.paper.ijcb2023_synthdistill.scripts.table import _read

SETTINGS = {variant: Settings.read({"variant": variant}) for variant in ("real", "toyfaces")}


def described(table, variant="real"):
    """Resolve the trainings of a table as their commands do."""
    rows = load(TABLES / f"{table}.toml", SETTINGS[variant]).rows
    return [row.runs[0].options.describe() for row in rows if row.runs]


@pytest.mark.parametrize("variant", SETTINGS)
def test_every_declaration_can_be_done(variant, tmp_path):
    tables = load_all(SETTINGS[variant])
    assert set(tables) == {"demo", *(f"table{n}" for n in range(1, 8))}
    names = [name for name, found in benchmarks().items() if found.drawn == (variant != "real")]
    for table in tables.values():
        assert list(table.databases) == names
        assert all(run.options.images >= 0 for row in table.rows for run in row.runs)
        path = tmp_path / "rows.toml"
        path.write_text(table.resolve(tmp_path))
        assert _read(path)["rows"]
        assert bool(table.published) <= (variant == "real")


def test_tables_3_and_4_change_what_they_are_about_only():
    changed = ("sampling", "resampling_coefficient", "loss")
    rows = described("table3") + described("table4")
    assert [tuple(row.pop(name) for name in changed) for row in rows] == [
        *(("dynamic", coefficient, "mse") for coefficient in (0.0, 0.25, 0.5, 1.0, 2.0)),
        ("dynamic", 1.0, "mse"),
        ("static", 1.0, "mse"),
        ("dynamic", 0.0, "mse"),  # the same w again
        ("z-space", 1.0, "mse"),
        ("hard", 1.0, "mse"),
        ("dynamic", 1.0, "mse"),
        ("dynamic", 1.0, "cosine"),
    ]
    assert all(row == rows[0] for row in rows)


@pytest.mark.parametrize("variant", SETTINGS)
def test_table_5_changes_start_and_images(variant):
    rows = described("table5", variant)
    assert {"random", "imagenet"} >= {row["initialisation"] for row in rows}
    base = rows[-1]["images_per_epoch"]
    assert [row["images_per_epoch"] for row in rows[-5:]] == [base // n for n in (16, 8, 4, 2, 1)]


def test_what_a_variant_says_wins_and_each_seed_is_a_run(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[rows]]\nlabel = "a"\nstudent = "a"\ntoyfaces.label = "toy a"\n'
        'toyfaces.options = { loss = "mse=1,cosine=10" }\n'
        '[[rows]]\nlabel = "only real"\npipeline = "teacher"\nvariants = ["real"]\n'
        '[[rows]]\nlabel = "mine"\nstudent = "my configs/mine.py"\noptional = "not here"\n'
    )
    config = {"seeds": "1,2", "options": "'two words.py' --precision bf16", "variant": "toyfaces"}
    toyfaces = load(path, Settings.read(config))
    assert [row.declared["label"] for row in toyfaces.rows] == ["toy a", "mine"]
    first, second = toyfaces.rows[0].runs
    words = ["toyfaces", "two words.py", "--precision", "bf16", "--loss", "mse=1,cosine=10"]
    assert list(first.words) == [*words, "--seed", "1"]
    assert second.name == "toyfaces-two-words-precision-bf16-loss-mse-1-cosine-10-seed-2"
    assert toyfaces.rows[1].models == []
    real = load(path, Settings.read({"variant": "real", "optional": True}))
    assert [row.models for row in real.rows] == [
        ["tinyfar-a-seed-2021"],
        ["synthdistill-teacher"],
        ["mine-seed-2021"],
    ]
    assert real.rows[2].runs[0].words[0] == "my configs/mine.py"


def test_what_cannot_be_is_told_in_words(tmp_path):
    path = tmp_path / "mine.toml"
    for text, words in (
        ("title =", "cannot read the declaration"),
        ('[[rows]]\nlabel = "r"', "row 'r' needs either a student"),
        ('[[rows]]\nlabel = "r"\nstudent = "a"\npipeline = "b"', "needs either a student"),
        ('[[rows]]\nlabel = "r"\nstudent = "a"\nexport = "int4"', "expected float or int8"),
    ):
        path.write_text(text + "\n")
        with pytest.raises(SynthDistillError, match=words):
            load(path, SETTINGS["real"])
    with pytest.raises(SynthDistillError, match="Did you mean 'seeds'"):
        Settings.read({"seed": 3})
    with pytest.raises(SynthDistillError, match="whole numbers"):
        Settings.read({"seeds": "one"})
    with pytest.raises(SynthDistillError, match="expected real or toyfaces"):
        load(TABLES / "demo.toml", Settings.read({"variant": "toy", "table": Path("x")}))
