import functools
import pickle
import shutil

import pytest
from pair_world import Viewing, random_student

from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def test_is_loaded_once_and_again_when_the_file_changes(student_file, tmp_path):
    path = shutil.copy(student_file, tmp_path / "student.safetensors")
    recipe = NetworkRecipe("student", path)
    first = recipe.load("cpu")
    assert NetworkRecipe("student", path).load("cpu") is first
    assert len(pickle.dumps(recipe)) < 1000
    fingerprint = recipe.fingerprint()
    random_student(path, seed=5)
    assert recipe.load("cpu") is not first
    assert recipe.fingerprint() != fingerprint


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no_such_module:name", "No module named"),
        ("pair_world:Pair", "gives a tuple for two faces"),
    ],
)
def test_network_by_a_wrong_name(source, words):
    with pytest.raises(SynthDistillError, match=words):
        NetworkRecipe("network", source).load("cpu")


def test_missing_and_unconfigured_files(tmp_path, monkeypatch, small_teacher):
    with pytest.raises(SynthDistillError, match=r"found nothing at .*none.safetensors"):
        NetworkRecipe("student", tmp_path / "none.safetensors").load("cpu")
    with pytest.raises(SynthDistillError, match="found a folder at"):
        NetworkRecipe("student", tmp_path).fingerprint()
    with pytest.raises(SynthDistillError):
        NetworkRecipe("student", small_teacher).load("cpu")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for kind in ("student", "teacher"):
        with pytest.raises(SynthDistillError, match=rf"bob config set .*\.{kind} PATH"):
            NetworkRecipe(kind).load("cpu")


def test_weights_of_a_network_by_name_are_its_fingerprint():
    one, again, other = (
        NetworkRecipe("network", functools.partial(Viewing, seed=seed)) for seed in (1, 1, 2)
    )
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    assert one.load("cpu") is again.load("cpu")
