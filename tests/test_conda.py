import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

CONDA_NAMES = {"torch": "pytorch"}
"""What conda-forge spells otherwise."""


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "conda" / "meta.yaml").read_text())


@pytest.fixture(scope="module")
def environment():
    return yaml.safe_load((ROOT / "conda" / "environment.yml").read_text())


def parse_conda(line):
    name, _, versions = line.partition(" ")
    return name, SpecifierSet(versions)


def parse_pip(line):
    requirement = Requirement(line)
    return CONDA_NAMES.get(requirement.name, requirement.name), requirement.specifier


def test_recipe_lists_what_pyproject_lists(project, recipe):
    expected = dict(map(parse_pip, project["project"]["dependencies"]))
    expected["python"] = SpecifierSet(project["project"]["requires-python"])
    found = dict(map(parse_conda, recipe["requirements"]["run"]))
    assert found == expected
    assert len(found) == len(recipe["requirements"]["run"])  # none twice


def test_recipe_builds_with_what_pyproject_builds_with(project, recipe):
    host = dict(map(parse_conda, recipe["requirements"]["host"]))
    (build,) = map(parse_pip, project["build-system"]["requires"])
    assert host == {
        "python": SpecifierSet(project["project"]["requires-python"]),
        "pip": SpecifierSet(),
        build[0]: build[1],
    }


def test_recipe_names_the_same_package_and_commands(project, recipe):
    assert recipe["package"]["name"] == project["project"]["name"]
    assert recipe["package"]["version"] == project["project"]["version"]
    assert recipe["about"]["license"] == project["project"]["license"]["text"]
    commands = dict(line.split(" = ") for line in recipe["build"]["entry_points"])
    assert commands == project["project"]["scripts"]
    assert {line.split()[0] for line in recipe["test"]["commands"]} <= set(commands)


def test_environment_installs_this_checkout_on_the_same_python(project, environment):
    *conda, pip = environment["dependencies"]
    conda = dict(map(parse_conda, conda))
    assert conda.pop("python") == SpecifierSet(project["project"]["requires-python"])
    assert conda.pop("pip") == SpecifierSet()
    # whatever else conda installs is a requirement of pyproject, no wider
    requirements = dict(map(parse_pip, project["project"]["dependencies"]))
    assert conda
    assert all(requirements[name] == versions for name, versions in conda.items())
    # all the rest are pyproject's own requirements, in the versions of the constraints
    assert pip["pip"] == ["--constraint ../constraints.txt", "--editable ..[test]"]
    assert "test" in project["project"]["optional-dependencies"]
    assert (ROOT / "conda" / ".." / "constraints.txt").is_file()


def test_pip_understands_the_environment(environment, tmp_path):
    """Write the pip part beside a file as conda does, and let pip read it there."""
    lines = environment["dependencies"][-1]["pip"]
    (tmp_path / "conda").mkdir()
    (tmp_path / "constraints.txt").write_text("")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\n[project.optional-dependencies]\ntest = []\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    file = tmp_path / "conda" / "condaenv.requirements.txt"
    file.write_text("\n".join(lines))
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            "--requirement",
            file.name,
        ],
        cwd=file.parent,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Would install x-1" in answer.stdout


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_constraints_pin_every_requirement_within_its_bounds(project):
    pins = {}
    for pin in constraints():
        (version,) = pin.specifier
        assert version.operator == "==", pin
        pins[canonicalize_name(pin.name)] = version.version
    optional = project["project"]["optional-dependencies"]["test"]
    for line in project["project"]["dependencies"] + optional:
        requirement = Requirement(line)
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, line


def test_makefile_and_pyproject_agree_on_python(project):
    (minor,) = set(re.findall(r"PYTHON \?= python3\.(\d+)", (ROOT / "Makefile").read_text()))
    python = SpecifierSet(project["project"]["requires-python"])
    assert f"3.{minor}" in python
    assert f"3.{int(minor) + 1}" not in python
