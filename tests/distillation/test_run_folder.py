"""The run folder holds one run, and one process at a time."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from bob.paper.ijcb2023_synthdistill.distillation.options import Options, load_configs
from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder, describe_run
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError, read_record


@pytest.fixture
def folder(tmp_path, tiny_run):
    """A folder in which something was learned."""
    folder = RunFolder(tmp_path / "run")
    folder.begin(describe_run(tiny_run, "cpu"), tiny_run)
    (folder.path / "last.ckpt").touch()
    return folder


def test_the_same_run_goes_on_and_another_is_refused(folder, tiny_run):
    same = ({}, {"epochs": 3}, {"checkpoint_minutes": 1.0}, {"batch_size": 4, "devices": 2})
    for changes in same:
        folder.check(describe_run(replace(tiny_run, **changes), "cpu"))
    for changes, words in (
        ({"batch_size": 6}, "batch_size was 4, is 6"),
        ({"epochs": 1}, "epochs was 2, is 1"),
        ({"devices": 2, "sync_batchnorm": False}, "devices was 1, is 2"),
    ):
        with pytest.raises(SynthDistillError, match=words):
            folder.check(describe_run(replace(tiny_run, **changes), "cpu"))
    with pytest.raises(SynthDistillError, match="begun on cpu cannot go on on cuda"):
        folder.check(describe_run(tiny_run, "cuda"))
    folder.options.write_text("{")
    with pytest.raises(SynthDistillError, match="cannot read"):
        folder.check(describe_run(tiny_run, "cpu"))


def test_a_run_that_died_before_it_learned_anything_stands_in_nobody_s_way(folder, tiny_run):
    (folder.path / "last.ckpt").unlink()
    folder.check(describe_run(replace(tiny_run, seed=5), "cpu"))


def test_options_say_what_a_number_depends_on(folder):
    record = read_record(folder.options)
    assert record["options"]["device"] == "cpu"
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert {"processor", "instruction_set"} <= record["machine"].keys()
    assert record["command"] == sys.argv


CONFIG = """
student = "test_efficientnet"
def loss(student, teacher):
    return (student - teacher).abs().mean()
"""


def test_code_that_changed_is_noticed_and_the_config_is_kept(tmp_path, tiny_run):
    config = tmp_path / "myloss.py"
    config.write_text(CONFIG)

    def described():
        options = Options(**load_configs([str(config)]), generator=tiny_run.generator)
        return describe_run(options, "cpu", [str(config)])

    folder = RunFolder(tmp_path / "run")
    folder.begin(described(), tiny_run, [str(config)])
    (folder.path / "last.ckpt").touch()
    folder.check(described())
    config.write_text(CONFIG.replace("abs()", "square()"))
    with pytest.raises(SynthDistillError, match=r"the code in myloss\.py changed"):
        folder.check(described())
    assert (folder.path / "configs" / "myloss.py").read_text() == CONFIG


def test_modules_that_a_config_imports_are_its_code_too(tmp_path, tiny_run, monkeypatch):
    (tmp_path / "my_optimizers.py").write_text(
        "import torch\nclass Mine(torch.optim.SGD):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_optimizers

    options = replace(tiny_run, optimizer=partial(my_optimizers.Mine, lr=0.1))
    assert list(describe_run(options, "cpu")["sources"]) == ["my_optimizers"]
    assert not describe_run(replace(options, optimizer=torch.optim.SGD), "cpu")["sources"]


def test_the_pipeline_of_a_network_of_one_s_own_names_it(tmp_path, tiny_run, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Sequential):\n"
        "    def __init__(self, stride=1):\n"
        "        super().__init__(nn.AvgPool2d(28, stride), nn.Flatten(), nn.LazyLinear(512))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_networks

    folder = RunFolder(tmp_path / "run")
    options = replace(tiny_run, student=partial(my_networks.Mine, stride=28))
    folder.begin(describe_run(options, "cpu"), options)
    text = folder.pipeline.read_text()
    assert "from my_networks import Mine" in text
    assert (
        'student_pipeline(_here / "student.safetensors", network=partial(Mine, stride=28))' in text
    )
    compile(text, "pipeline.py", "exec")


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
    with pytest.raises(SynthDistillError, match=f"process {process.pid}.* is training"):
        RunFolder(tmp_path).lock().__enter__()
    process.kill()
    process.wait()
    with RunFolder(tmp_path).lock():
        pass
