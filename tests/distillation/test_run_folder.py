"""The run folder holds one run, and one process at a time."""

import json
import subprocess
import sys

import pytest

from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def description(**changes):
    return {"options": {"batch_size": 8, "epochs": 2, "device": "cpu"} | changes}


def test_the_same_run_goes_on_and_another_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(description())
    folder.begin(description())
    folder.begin(description(device="cuda"))
    folder.begin(description(epochs=3))
    with pytest.raises(SynthDistillError, match="batch_size was 8, is 9"):
        folder.begin(description(epochs=3, batch_size=9))
    with pytest.raises(SynthDistillError, match="epochs was 3, is 2"):
        folder.begin(description())
    assert json.loads(folder.options.read_text())["options"]["epochs"] == 3


def test_damaged_options_are_not_overwritten(tmp_path):
    folder = RunFolder(tmp_path)
    folder.options.write_text("{")
    with pytest.raises(SynthDistillError, match="cannot read"):
        folder.begin(description())
    assert folder.options.read_text() == "{"


def test_the_lock_dies_with_its_process(tmp_path):
    program = (
        "import sys, pathlib\n"
        "from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).lock():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(SynthDistillError, match="another process"), RunFolder(tmp_path).lock():
        pass
    process.kill()
    process.wait()
    with RunFolder(tmp_path).lock():
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SynthDistillError, match="cannot write to the output folder"),
        RunFolder(tmp_path / "file" / "run").lock(),
    ):
        pass
