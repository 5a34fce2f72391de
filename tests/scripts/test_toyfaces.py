"""`synthdistill-toyfaces` from the command line."""

import errno

import pytest
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill.benchmarks import bins
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.scripts.toyfaces import NAMES, toyfaces
from bob.paper.ijcb2023_synthdistill.toyfaces import TRAINING_SEED, layouts, lists


def run(*arguments):
    return CliRunner().invoke(toyfaces, [*map(str, arguments), "--pairs-per-fold", "2"])


def test_write_and_read_back(tmp_path):
    assert sorted(NAMES) == sorted(lists.FORMS)
    folder = tmp_path / "toy faces"
    result = run(folder, "--benchmark", "toyfaces-cfp-fp")
    assert result.exit_code == 0, result.output
    for layout in ("bin/cfp_fp.bin", "aligned/cfp-fp", "unaligned/cfp-fp"):
        assert str(folder / layout) in result.output
        assert len(Verification("toyfaces-cfp-fp", folder / layout, pairs=20).pairs()) == 20
    # another one joins it; what is there stays
    before = (folder / "bin/cfp_fp.bin").stat().st_mtime_ns
    assert run(folder, "--benchmark", "lfw", "--benchmark", "cfp-fp").exit_code == 0
    assert (folder / "bin/lfw.bin").exists()
    assert (folder / "bin/cfp_fp.bin").stat().st_mtime_ns == before


@pytest.mark.parametrize("layout", ["bin", "aligned", "unaligned"])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, monkeypatch, layout):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layouts, "write_list", full)
    monkeypatch.setattr(bins.pickle, "dump", full)
    result = run(tmp_path / "toy", "--benchmark", "lfw", "--layout", layout)
    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert "run the same command again" in result.output
    assert [path.name for path in (tmp_path / "toy" / layout).iterdir()] == []


def test_other_settings_are_refused(tmp_path):
    (tmp_path / "toy" / "bin").mkdir(parents=True)  # as Snakemake does: not yet anything
    assert run(tmp_path / "toy", "--benchmark", "lfw").exit_code == 0
    result = run(tmp_path / "toy", "--benchmark", "lfw", "--seed", 4)
    assert result.exit_code == 1
    assert "drawn otherwise" in result.output
    for seed, status in ((TRAINING_SEED, 1), (-5, 2)):
        assert run(tmp_path / "new", "--seed", seed).exit_code == status
    assert not (tmp_path / "new").exists()
    # nor is anything written beside other things
    (tmp_path / "mine.txt").write_text("important")
    assert "something else" in run(tmp_path, "--benchmark", "lfw").output
    assert run(tmp_path / "mine.txt" / "new", "--benchmark", "lfw").exit_code == 1
