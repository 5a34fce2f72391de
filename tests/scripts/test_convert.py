"""`synthdistill-convert`: one file becomes another, and nothing is lost."""

from functools import partial
from pathlib import Path

import torch
from invoking import invoke

from bob.paper.ijcb2023_synthdistill.generators import load_generator
from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, load_student
from bob.paper.ijcb2023_synthdistill.scripts.convert import convert

MICRO = Path(__file__).parents[1] / "data" / "stylegan2-micro.pkl"


run = partial(invoke, convert)


def test_it_converts_and_says_what(tmp_path):
    target = tmp_path / "new" / "micro.safetensors"
    said = run(MICRO, target).output
    assert "32x32 pixels" in said
    assert "50,939 parameters" in said
    assert "clamp 2.0" in said
    first, second = load_generator(MICRO), load_generator(target)
    z = torch.randn(2, 32)
    expected = first(z, noise_mode="const")
    assert torch.equal(second(z, noise_mode="const"), expected)
    assert [path.name for path in target.parent.iterdir()] == ["micro.safetensors"]


def test_it_converts_a_student_of_the_published_code(tmp_path):
    student = create_student("tinyfar-c", "random")
    published = torch.nn.ModuleDict({"cnn": student.backbone, "fc": student.linear})
    torch.save(published.state_dict(), tmp_path / "light_model_20.pt")
    result = run(tmp_path / "light_model_20.pt", tmp_path / "student.safetensors")
    assert "tinyfar-c" in result.output
    assert "1,832,106" in result.output
    found = load_student(tmp_path / "student.safetensors").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in student.state_dict().items())


def test_an_existing_file_is_kept_without_force(tmp_path):
    source, target = tmp_path / "micro.pkl", tmp_path / "micro.safetensors"
    source.write_bytes(MICRO.read_bytes())
    target.write_text("precious")
    assert "--force" in run(source, target, code=1).output
    # nor is the source ever replaced
    run(source, source, "--force", code=1)
    assert target.read_text() == "precious"
    run(source, target, "--force")
    assert load_generator(target).resolution == load_generator(source).resolution == 32
