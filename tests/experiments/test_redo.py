"""Remove a score file, damage others, change a student, a config, a table: what is done again.

Nothing is pretended: a tiny student is trained in the miniature world, and evaluated by Bob.
"""

import csv
import functools

import pytest
import reproduce
from bob.paper.ijcb2023_synthdistill.evaluation.records import SCORES
from click.testing import CliRunner
from reproduction import assemble, scores, steps
from reproduction.declarations import load_declaration

from bob.paper.ijcb2023_synthdistill.evaluation import chain
from bob.paper.ijcb2023_synthdistill.files import FILE_NAME
from bob.paper.ijcb2023_synthdistill.scripts.train import train
from bob.paper.ijcb2023_synthdistill.toyfaces.benchmarks import TOYFACES_KEY
from bob.paper.ijcb2023_synthdistill.toyfaces.layouts import write

BENCHMARKS = ("toyfaces-lfw", "toyfaces-cplfw")
DYNAMIC, STATIC = "toyfaces-tiny-seed-2021", "toyfaces-tiny-sampling-static-seed-2021"

ROWS = """
[[rows]]
label = "dynamic"
student = "a"

[[rows]]
label = "static"
student = "a"
changes = ["sampling-static"]
"""


class Experiment:
    """A tiny experiment, and which of its steps ran."""

    def __init__(self, folder):
        self.declarations = folder / "tables"
        self.table = self.declarations / "tiny.toml"
        self.config = folder / "tiny.py"
        self.results = folder / "results"
        self.trained, self.evaluated = [], []

    def run(self):
        """Run the command; give what was trained and evaluated."""
        self.trained, self.evaluated = [], []
        scores.open_benchmark.cache_clear()
        words = ["tiny", "--config", self.config, "--results", self.results, "--no-plots"]
        result = CliRunner().invoke(reproduce.reproduce, [str(word) for word in words])
        assert result.exit_code == 0, (result.output, result.exception)
        return self.trained, self.evaluated

    def train(self, words):
        self.trained.append(words[words.index("--output") + 1].rsplit("/", 1)[1])
        result = CliRunner().invoke(train, words[3:])
        assert result.exit_code == 0, (result.output, result.exception)
        return 0

    def evaluate(self, models, databases, output, **options):
        done = self.original(models, databases, output, **options)
        self.evaluated += [(one.model, one.database) for one in done if one.computed]
        return done

    def scores(self, model, database):
        return self.results / "toyfaces" / model / database / SCORES

    def bytes(self):
        return {path: path.read_bytes() for path in sorted(self.results.rglob(SCORES))}

    def labels(self):
        path = self.results / "toyfaces" / "tables" / "tiny" / "table.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["model"]: row["toyfaces-lfw"] for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, micro_generator, small_teacher):
    folder = tmp_path_factory.mktemp("experiment")
    experiment = Experiment(folder)
    experiment.declarations.mkdir()
    experiment.table.write_text(f'title = "Tiny"\n{ROWS}')
    (experiment.declarations / "variants.toml").write_text(
        f'[toyfaces]\nstudents = {{ a = "toyfaces" }}\nbenchmarks = {list(BENCHMARKS)}\n'
    )
    experiment.config.write_text(
        "student = 'test_efficientnet'\nepochs = 1\nimages_per_epoch = 8\nbatch_size = 4\n"
        f"validation_images = 4\ngenerator = {str(micro_generator)!r}\n"
        f"teacher = {str(small_teacher)!r}\n"
    )
    write(folder / "faces", ["lfw", "cplfw"], ["bin"], seed=5, pairs_per_fold=4)
    (folder / "home").mkdir()
    (folder / "home" / FILE_NAME).write_text(f'"{TOYFACES_KEY}" = "{folder / "faces"}"\n')
    load = functools.partial(load_declaration, folder=experiment.declarations)
    experiment.original = chain.evaluate
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "home"))
        patch.setattr(reproduce, "load_declaration", load)
        patch.setattr(reproduce, "declared_tables", lambda: ["tiny"])
        patch.setattr(steps, "run_command", experiment.train)
        patch.setattr(chain, "evaluate", experiment.evaluate)
        patch.setattr(assemble, "draw_report", lambda *_: [])
        everything = [(model, name) for model in (DYNAMIC, STATIC) for name in BENCHMARKS]
        assert experiment.run() == ([DYNAMIC, STATIC], everything)
        yield experiment


@pytest.fixture
def before(experiment):
    """The score files, of an experiment in which nothing is left to do."""
    assert experiment.run() == ([], [])
    return experiment.bytes()


def _remove(path):
    path.unlink()


def _damage_a_row(path):
    lines = path.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace(",", ";")
    path.write_text("".join(lines))


def _change_a_score(path):
    rows = path.read_text().splitlines(keepends=True)
    rows[2] = rows[2].rsplit(",", 1)[0] + ",-0.5\n"
    path.write_text("".join(rows))


def _cut(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize("damage", [_remove, _damage_a_row, _change_a_score, _cut])
def test_one_score_file_that_is_gone_or_damaged_is_made_again(experiment, before, damage):
    path = experiment.scores(STATIC, "toyfaces-cplfw")
    damage(path)
    assert not path.exists() or path.read_bytes() != before[path]
    assert experiment.run() == ([], [(STATIC, "toyfaces-cplfw")])
    assert experiment.bytes() == before


def test_a_student_that_changed_is_evaluated_again(experiment, before):
    student, other = (experiment.results / "toyfaces" / n for n in (DYNAMIC, STATIC))
    own = (student / "student.safetensors").read_bytes()
    (student / "student.safetensors").write_bytes((other / "student.safetensors").read_bytes())
    assert experiment.run() == ([], [(DYNAMIC, name) for name in BENCHMARKS])
    assert experiment.bytes() != before
    (student / "student.safetensors").write_bytes(own)
    assert experiment.run() == ([], [(DYNAMIC, name) for name in BENCHMARKS])
    assert experiment.bytes() == before


def test_a_changed_table_trains_and_evaluates_nothing(experiment, before):
    text = experiment.table.read_text()
    figures = experiment.labels()
    experiment.table.write_text(
        text.replace('"dynamic"', '"the paper\'s"').replace("Tiny", "Another title")
    )
    assert experiment.run() == ([], [])
    assert experiment.bytes() == before
    assert experiment.labels() == {
        "the paper's": figures["dynamic"],
        "static": figures["static"],
    }
    experiment.table.write_text(text)


def test_a_changed_config_trains_and_evaluates_all_again(experiment, before):
    text = experiment.config.read_text()
    experiment.config.write_text(text + "resampling_coefficient = 0.5\n")
    trained, evaluated = experiment.run()
    assert trained == [DYNAMIC, STATIC]
    assert len(evaluated) == 4
    kept = [path.name for path in (experiment.results / "toyfaces").glob(".*.before-*")]
    assert len(kept) == 2
    assert experiment.run() == ([], [])
    experiment.config.write_text(text)
