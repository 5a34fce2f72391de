import functools
import pickle
import shutil

import pytest

from bob.paper.ijcb2023_synthdistill.evaluation.network import NetworkRecipe
from bob.paper.ijcb2023_synthdistill.files import SynthDistillError


def test_is_loaded_once_and_again_when_the_file_changes(student_file, tmp_path):
    from pair_world import random_student

    path = shutil.copy(student_file, tmp_path / "student.safetensors")
    recipe = NetworkRecipe("student", path)
    first = recipe.load("cpu")
    assert NetworkRecipe("student", path).load("cpu") is first
    fingerprint = recipe.fingerprint()
    random_student(path, seed=5)
    assert recipe.load("cpu") is not first
    assert recipe.fingerprint() != fingerprint


def test_is_small_when_pickled_even_after_loading(student_file):
    recipe = NetworkRecipe("student", student_file)
    recipe.load("cpu")
    assert len(pickle.dumps(recipe)) < 1000


def test_teacher_file(small_teacher):
    import torch

    teacher = NetworkRecipe("teacher", small_teacher).load("cpu")
    assert not teacher.training
    assert teacher(torch.zeros(1, 3, 112, 112)).shape == (1, 512)


def test_network_by_name_as_function_and_as_class():
    for name in ("halves", "Halves"):
        network = NetworkRecipe("network", f"pair_world:{name}").load("cpu")
        assert type(network).__name__ == "Halves"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("pair_world", "package.module:name"),
        ("no_such_module:name", "No module named"),
        ("pair_world:nothing", "no attribute 'nothing'"),
        ("pair_world:np", "found module"),
        ("pair_world:Pair", "gives a tuple for two faces"),
        ("pair_world:Maps", r"gives .*\[2, 3, 112, 112\] for two faces"),
        ("pair_world:Photographs", "does not take faces"),
    ],
)
def test_network_by_a_wrong_name(source, words):
    with pytest.raises(SynthDistillError, match=words):
        NetworkRecipe("network", source).load("cpu")


def test_missing_and_unconfigured_files(tmp_path, monkeypatch):
    with pytest.raises(SynthDistillError, match=r"found nothing at .*none.safetensors"):
        NetworkRecipe("student", tmp_path / "none.safetensors").load("cpu")
    with pytest.raises(SynthDistillError, match="found a folder at"):
        NetworkRecipe("student", tmp_path).fingerprint()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for kind in ("student", "teacher"):
        recipe = NetworkRecipe(kind)
        with pytest.raises(SynthDistillError, match=rf"bob config set .*\.{kind} PATH"):
            recipe.load("cpu")


def test_student_of_another_format(small_teacher):
    with pytest.raises(SynthDistillError):
        NetworkRecipe("student", small_teacher).load("cpu")


def test_the_default_layout_is_kept_where_channels_last_cannot_compute():
    import torch

    network = NetworkRecipe("network", "pair_world:Viewing").load("cpu")
    assert network(torch.rand(2, 3, 112, 112)).shape == (2, 4 * 28 * 28)


def test_weights_of_a_network_by_name_are_its_fingerprint():
    from pair_world import Viewing

    recipe = NetworkRecipe("network", functools.partial(Viewing, seed=1))
    again = NetworkRecipe("network", functools.partial(Viewing, seed=1))
    other = NetworkRecipe("network", functools.partial(Viewing, seed=2))
    assert recipe.fingerprint() == again.fingerprint() != other.fingerprint()
    assert recipe.load("cpu") is again.load("cpu")


def test_a_student_of_ones_own_is_made_by_what_is_given(tmp_path):
    from pair_world import Viewing

    from bob.paper.ijcb2023_synthdistill.recognition.student import create_student, save_student

    path = tmp_path / "student.safetensors"
    save_student(path, create_student(Viewing, "random", embedding_size=4 * 28 * 28))
    with pytest.raises(SynthDistillError, match="say yourself what makes the network"):
        NetworkRecipe("student", path).load("cpu")
    assert NetworkRecipe("student", path, Viewing).load("cpu").embedding_size == 4 * 28 * 28
