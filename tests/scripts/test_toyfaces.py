"""`synthdistill-toyfaces` from the command line."""

import errno
from functools import partial

import pytest
from invoking import invoke

from bob.paper.ijcb2023_synthdistill.benchmarks import bins
from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification
from bob.paper.ijcb2023_synthdistill.scripts.toyfaces import NAMES, toyfaces
from bob.paper.ijcb2023_synthdistill.toyfaces import TRAINING_SEED, layouts, lists

run = partial(invoke, toyfaces, "--pairs-per-fold", 2)


def test_write_and_read_back(tmp_path):
    assert sorted(NAMES) == sorted(lists.FORMS)
    folder = tmp_path / "toy faces"
    result = run(folder, "--benchmark", "toyfaces-cfp-fp")
    for layout in ("bin/cfp_fp.bin", "aligned/cfp-fp", "unaligned/cfp-fp"):
        assert str(folder / layout) in result.output
        assert len(Verification("toyfaces-cfp-fp", folder / layout, pairs=20).pairs()) == 20
    # another one joins it; what is there stays
    before = (folder / "bin/cfp_fp.bin").stat().st_mtime_ns
    run(folder, "--benchmark", "lfw", "--benchmark", "cfp-fp")
    assert (folder / "bin/lfw.bin").exists()
    assert (folder / "bin/cfp_fp.bin").stat().st_mtime_ns == before


@pytest.mark.parametrize("layout", ["bin", "aligned", "unaligned"])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, monkeypatch, layout):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layouts, "write_list", full)
    monkeypatch.setattr(bins.pickle, "dump", full)
    result = run(tmp_path / "toy", "--benchmark", "lfw", "--layout", layout, code=1)
    assert "No space left on device" in result.output
    assert "run the same command again" in result.output
    assert [path.name for path in (tmp_path / "toy" / layout).iterdir()] == []


def test_other_settings_are_refused(tmp_path):
    (tmp_path / "toy" / "bin").mkdir(parents=True)  # as Snakemake does: not yet anything
    run(tmp_path / "toy", "--benchmark", "lfw")
    result = run(tmp_path / "toy", "--benchmark", "lfw", "--seed", 4, code=1)
    assert "drawn otherwise" in result.output
    for seed, code in ((TRAINING_SEED, 1), (-5, 2)):
        run(tmp_path / "new", "--seed", seed, code=code)
    assert not (tmp_path / "new").exists()
    # nor is anything written beside other things
    (tmp_path / "mine.txt").write_text("important")
    assert "something else" in run(tmp_path, "--benchmark", "lfw", code=1).output
    run(tmp_path / "mine.txt" / "new", "--benchmark", "lfw", code=1)
