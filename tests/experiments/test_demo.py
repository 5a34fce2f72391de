"""The demo tells what Snakemake does, here a stub of it, and stops gently."""

import os
import signal
import subprocess
import sys

import demo
import pytest

STUB = """
import pathlib, signal, sys, time
results = pathlib.Path("results/demo")
log = results / "runs" / "logs" / "toyfaces-seed-2021.log"
def stop(*_):
    log.open("a").write("stopped after 7 iterations, saved\\n")
    sys.exit(1)
signal.signal(signal.SIGINT, stop)
print("total      2\\n\\nJob 1: train toyfaces-seed-2021: 8 images\\nReason: x", flush=True)
log.write_text("epoch 1 of 2: loss 1\\n")
if "{what}" == "fail":
    sys.exit("RuleException\\nExiting because a job execution failed\\nno space left")
time.sleep(60 if "{what}" == "wait" else 0)
print("1 of 2 steps (50%) done\\nJob 0: print table", flush=True)
(results / "table.md").write_text("the table")
exported = results / "runs" / "exported" / "the run"
exported.mkdir(parents=True)
files = '{{"model.onnx": {{"bytes": 4400000}}}}'
counts = '"architecture": "tiny", "parameters": 1, "multiply_adds": 1'
(exported / "config.json").write_text('{{%s, "files": %s}}' % (counts, files))
(results / "rows.toml").write_text('[[rows]]\\n[[rows]]\\nfolders = ["the run"]\\n')
"""


@pytest.fixture
def start(tmp_path):
    def run(what=""):
        (tmp_path / "snakemake.py").write_text(STUB.format(what=what))
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = [sys.executable, demo.__file__]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)

    return run


def test_what_goes_on_and_what_to_look_at(start):
    process = start()
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "[0 of 2 done] train toyfaces-seed-2021: 8 images\n" in said
    assert "toyfaces-seed-2021: epoch 1 of 2: loss 1" in said
    ends = ["[1 of 2 done] print table\n", "the table\n", "demo/table.md", "4.40 MB"]
    ends += ["-p the run/pipeline.py"]
    assert sorted(ends, key=said.index) == ends
    assert "Reason" not in said
    assert "faces.png" not in said  # the stub draws none


def test_a_failure_is_told(start):
    process = start("fail")
    said = process.communicate()[0]
    assert process.returncode == 1
    assert said.index("no space left") < said.index("the demo is not complete")


def test_ctrl_c_waits_until_all_is_saved(start):
    process = start("wait")
    next(line for line in process.stdout if "epoch 1 of 2" in line)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130
    assert said.index("stopped after 7 iterations, saved") < said.index("the same command goes on")
