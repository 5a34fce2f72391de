"""`synthdistill-evaluate` from the command line."""

from functools import partial

import pytest
from invoking import invoke
from small_images import encode

from bob.paper.ijcb2023_synthdistill.benchmarks.bins import write_bin
from bob.paper.ijcb2023_synthdistill.files import bob_pipeline
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student
from bob.paper.ijcb2023_synthdistill.scripts.evaluate import evaluate

run = partial(invoke, evaluate)


@pytest.mark.slow
def test_what_is_missing_is_evaluated_and_the_table_printed(tmp_path):
    model = tmp_path / "run"
    model.mkdir()
    save_student(model / "student.safetensors", create_student("lcnet_050", "random"))
    text = bob_pipeline("A student", "student", "student.safetensors")
    (model / "pipeline.py").write_text(text)
    for name in ("lfw", "calfw"):
        write_bin(tmp_path / f"{name}.bin", [encode(i) for i in range(80)], [True, False] * 20)
        (tmp_path / f"{name}.py").write_text(
            "from bob.paper.ijcb2023_synthdistill.benchmarks.database import PairDatabase\n"
            f"database = PairDatabase({name!r}, {str(tmp_path / name)!r} + '.bin', pairs=40)\n"
        )
    (tmp_path / "calfw.bin").write_bytes(b"no benchmark")
    lfw = ("-d", tmp_path / "lfw.py")
    # what one cannot evaluate does not hinder the other
    said = run(model, "-d", tmp_path / "calfw.py", *lfw, code=1)
    assert "| run" in said.stdout
    assert "not evaluated" in said.stderr
    # what is there is not done again
    assert "lfw: evaluated before" in run(model, *lfw).stderr


def test_a_folder_without_a_pipeline_is_told(tmp_path):
    assert "pipeline.py is missing" in run(tmp_path, code=1).output
