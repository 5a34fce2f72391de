"""The measurement of a device, on the CPU with networks of a few channels."""

import json
import subprocess
import sys

import measure_gpu
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill.distillation import benchmark, roofline

ABSENT = ("bob.bio", "bob.pipelines", "bob.measure", "bob.io", "clapper", "dask", "distributed")
ABSENT += ("sklearn", "scipy", "pandas", "matplotlib", "pooch", "tensorboard", "h5py")


def test_it_imports_without_bob_and_all_that_comes_with_it():
    program = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
sys.path.insert(0, {str(measure_gpu.ROOT / "experiments")!r})
import measure_gpu
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_page_is_written_and_what_fails_is_an_empty_cell(
    monkeypatch, tmp_path, micro_generator, small_teacher
):
    def job(command, **_):
        done = CliRunner().invoke(measure_gpu.main, command[2:])
        if done.exit_code:
            raise subprocess.CalledProcessError(done.exit_code, command, stderr=done.output)
        return done

    # jobs in this process, and every rate 1 GFLOP/s
    monkeypatch.setattr(measure_gpu.subprocess, "run", job)
    ones = lambda device, precisions: dict.fromkeys([*precisions, "bytes"], 1e9)  # noqa: E731
    monkeypatch.setattr(roofline, "measure_ceilings", ones)
    monkeypatch.setattr(benchmark, "keep_buffers", lambda: None)
    variants = {
        name: measure_gpu.VARIANTS[name] for name in ("plain", "bfloat16", "bfloat16 graph")
    }
    monkeypatch.setattr(measure_gpu, "VARIANTS", variants)
    monkeypatch.setattr(measure_gpu, "PROFILED", ("bfloat16",))
    arguments = ["--output", tmp_path, "--device", "cpu", "--batches", "2,4", "--no-tests"]
    arguments += ["--student", "test_efficientnet", "--iterations", 1, "--images", 128]
    arguments += ["--generator", micro_generator, "--teacher", small_teacher]
    result = CliRunner().invoke(measure_gpu.main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "measured.json").read_text())
    assert found["grid"]["plain"]["4"]["images_per_second"] > 0
    assert "--device cuda" in found["grid"]["bfloat16 graph"]["2"]["not_measured"]
    assert found["grid"]["bfloat16"]["2"]["launches"] > 100
    assert found["evaluation"]["images"] == 128
    page = (tmp_path / "measured.md").read_text()
    assert "| teacher | " in page
    assert "| bfloat16: kernel | calls | ms |" in page
    row = next(line for line in page.splitlines() if line.startswith("| 4 | "))
    assert row.endswith(" |  |")
