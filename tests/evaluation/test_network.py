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


def test_what_is_no_network_of_its_kind_is_told(tmp_path, small_teacher):
    for recipe, words in (
        (NetworkRecipe("student", tmp_path / "none.safetensors"), r"found nothing at .*none.safet"),
        (NetworkRecipe("student", tmp_path), "found a folder at"),
        (NetworkRecipe("student", small_teacher), "its format is 'synthdistill-teacher'"),
        (NetworkRecipe("network", "pair_world:Pair"), "gives a tuple for two faces"),
    ):
        with pytest.raises(SynthDistillError, match=words):
            recipe.load("cpu")


def test_weights_of_a_network_by_name_are_its_fingerprint():
    one, again, other = (
        NetworkRecipe("network", functools.partial(Viewing, seed=seed)) for seed in (1, 1, 2)
    )
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    assert one.load("cpu") is again.load("cpu")
