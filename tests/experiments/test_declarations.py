import shutil

import pytest
from reproduction.declarations import FOLDER, declared_tables, load_declaration

from bob.paper.ijcb2023_synthdistill.benchmarks.benchmark import benchmarks
from bob.paper.ijcb2023_synthdistill.distillation.options import resolve
from bob.paper.ijcb2023_synthdistill.evaluation.report import PROPERTIES
from bob.paper.ijcb2023_synthdistill.evaluation.tables import METRICS
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "tables")


@pytest.mark.parametrize("variant", ["real", "toyfaces"])
@pytest.mark.parametrize("name", declared_tables())
def test_every_declaration_can_be_done(name, variant):
    declaration = load_declaration(name, variant)
    assert declaration.rows
    assert declaration.metric in METRICS
    assert set(declaration.properties) <= set(PROPERTIES)
    names = [name for name, found in benchmarks().items() if found.drawn == (variant != "real")]
    assert declaration.variant.benchmarks == names
    for row in declaration.rows:
        configs = row.configs(declaration.variant)
        assert bool(configs) != (row.model == "teacher")
        if configs:
            options = resolve(configs)
            assert options.images > 0
    if declaration.plot is not None:
        assert declaration.plot.x in declaration.properties
        assert declaration.plot.section in {"", *(row.section for row in declaration.rows)}


def test_the_five_tables_are_there():
    assert {"table1", "table2", "table3", "table4", "table5"} < set(declared_tables())


def _resolved(name, variant="real"):
    declaration = load_declaration(name, variant)
    return [resolve(row.configs(declaration.variant)) for row in declaration.rows if row.student]


def test_table_3_changes_the_coefficient_only():
    rows = [options.describe() for options in _resolved("table3")]
    assert [row.pop("resampling_coefficient") for row in rows] == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert all(row == rows[0] for row in rows)


def test_table_4_changes_sampling_and_loss_only():
    rows = [options.describe() for options in _resolved("table4")]
    changed = ("sampling", "resampling_coefficient", "loss")
    assert [tuple(row.pop(name) for name in changed) for row in rows] == [
        ("dynamic", 1.0, "mse"),
        ("static", 1.0, "mse"),
        ("dynamic", 0.0, "mse"),  # the same w again
        ("z-space", 1.0, "mse"),
        ("hard", 1.0, "mse"),
        ("dynamic", 1.0, "mse"),
        ("dynamic", 1.0, "cosine"),
    ]
    assert all(row == rows[0] for row in rows)


@pytest.mark.parametrize("variant", ["real", "toyfaces"])
def test_table_5_changes_start_and_images(variant):
    rows = _resolved("table5", variant)
    assert [row.initialisation for row in rows[:2]] == ["imagenet", "random"]
    base = rows[-1].images_per_epoch
    assert [row.images_per_epoch for row in rows[2:]] == [base // n for n in (16, 8, 4, 2, 1)]


def test_published_rows_stand_in_the_real_variant_only():
    assert load_declaration("table1", "toyfaces").published == []
    groups = [result.group for result in load_declaration("table1", "real").published]
    assert len(groups) == 27
    assert groups[0] == "this paper"


def test_what_a_variant_says_wins(folder):
    (folder / "mine.toml").write_text(
        'title = "Mine"\n'
        '[[rows]]\nlabel = "a"\nstudent = "a"\ntoyfaces.label = "toy a"\ntoyfaces.epochs = 0\n'
        '[[rows]]\nlabel = "only real"\nmodel = "teacher"\nvariants = ["real"]\n'
        '[[rows]]\nlabel = "mine"\nstudent = "path/to/mine.py"\nchanges = ["loss-cosine"]\n'
    )
    real = load_declaration("mine", "real", folder)
    toyfaces = load_declaration("mine", "toyfaces", folder)
    assert [(row.label, row.epochs) for row in real.rows] == [
        ("a", None), ("only real", None), ("mine", None),
    ]  # fmt: skip
    assert [(row.label, row.epochs) for row in toyfaces.rows] == [("toy a", 0), ("mine", None)]
    assert real.rows[0].configs(real.variant) == ("tinyfar-a",)
    assert real.rows[2].configs(real.variant) == ("path/to/mine.py", "loss-cosine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title =", "cannot read the declaration"),
        ('titel = "x"', "unknown name 'titel'. Did you mean 'title'"),
        ("notes = []", "missing 1 required positional argument: 'title'"),
        ('title = "x"\n[[rows]]\nlabel = "r"', "needs either a student"),
        ('title = "x"\n[[rows]]\nlabel = "r"\nstudent = "a"\nmodel = "b"', "needs either"),
        ('title = "x"\n[[rows]]\nlabel = "r"\nstudnet = "a"', "Did you mean 'student'"),
        ('title = "x"\n[[rows]]\npublished.model = "Nobody"', "no published result"),
        ('title = "x"\n[plot]\nx = "images"\nylabel = "y"', "Did you mean 'xlabel'"),
    ],
)
def test_wrong_declarations_are_told_in_words(folder, text, message):
    (folder / "mine.toml").write_text(text + "\n")
    with pytest.raises(SynthDistillError) as caught:
        load_declaration("mine", "real", folder)
    assert message in caught.value.message


def test_unknown_tables_and_variants():
    with pytest.raises(SynthDistillError, match="Did you mean 'table3'"):
        load_declaration("tabel3", "real")
    with pytest.raises(SynthDistillError, match="Variants: real, toyfaces"):
        load_declaration("table3", "toy")
