"""`synthdistill-toyfaces` from the command line."""

from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.scripts.toyfaces import NAMES, toyfaces
from bob.paper.ijcb2023_synthdistill.toyfaces import benchmarks, layouts


def run(*arguments):
    return CliRunner().invoke(toyfaces, [*map(str, arguments), "--pairs-per-fold", "2"])


def test_names_and_defaults():
    assert sorted(NAMES) == sorted(layouts.FORMS)
    defaults = {parameter.name: parameter.default for parameter in toyfaces.params}
    assert (defaults["seed"], defaults["pairs_per_fold"]) == (
        benchmarks.SEED,
        benchmarks.PAIRS_PER_FOLD,
    )


def test_write_and_read_back(tmp_path):
    folder = tmp_path / "toy faces"
    result = run(folder, "--benchmark", "toyfaces-cfp-fp", "--layout", "all")
    assert result.exit_code == 0, result.output
    for layout in ("bin/cfp_fp.bin", "aligned/cfp-fp", "unaligned/cfp-fp"):
        assert str(folder / layout) in result.output
        assert len(Verification("toyfaces-cfp-fp", folder / layout, pairs=20).pairs()) == 20
    # another one joins it; what is there stays
    before = (folder / "bin/cfp_fp.bin").stat().st_mtime_ns
    assert run(folder, "--benchmark", "lfw", "--benchmark", "cfp-fp").exit_code == 0
    assert (folder / "bin/lfw.bin").exists()
    assert (folder / "bin/cfp_fp.bin").stat().st_mtime_ns == before


def test_refuses_what_it_did_not_write(tmp_path):
    (tmp_path / "mine.txt").write_text("important")
    result = run(tmp_path, "--benchmark", "lfw")
    assert result.exit_code == 1
    assert "something else" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_refuses_other_settings(tmp_path):
    folder = tmp_path / "toy"
    assert run(folder, "--benchmark", "lfw").exit_code == 0
    result = run(folder, "--benchmark", "lfw", "--seed", 4)
    assert result.exit_code == 1
    assert "drawn otherwise" in result.output
    result = run(tmp_path / "new", "--seed", benchmarks.TRAINING_SEED)
    assert result.exit_code == 1
    assert "choose" in result.output
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("a file")
    result = run(tmp_path / "file" / "below", "--benchmark", "lfw")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
