"""The conda files, the constraints and the Makefile agree with pyproject.toml."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RECIPE = yaml.safe_load((ROOT / "conda" / "meta.yaml").read_text())
ENVIRONMENT = yaml.safe_load((ROOT / "conda" / "environment.yml").read_text())["dependencies"]
PYTHONS = SpecifierSet(PROJECT["project"]["requires-python"])
PYTHON = SpecifierSet(">=3.11,<3.13")
"""Where Bob runs: the training half alone installs on more (pyproject.toml)."""

CONDA_NAMES = {"torch": "pytorch"}
"""What conda-forge spells otherwise."""


def of_conda(lines):
    found = {
        name: SpecifierSet(versions) for name, _, versions in (x.partition(" ") for x in lines)
    }
    assert len(found) == len(lines)  # none twice
    return found


def of_pip(lines):
    requirements = [Requirement(line) for line in lines]
    assert all(asked_for(r, "3.11") == asked_for(r, "3.12") for r in requirements)
    return {
        CONDA_NAMES.get(r.name, r.name): r.specifier for r in requirements if asked_for(r, "3.12")
    }


def asked_for(requirement, python):
    marker = requirement.marker
    return marker is None or marker.evaluate({"python_version": python})


REQUIREMENTS = of_pip(PROJECT["project"]["dependencies"])


def test_the_recipe_lists_what_pyproject_lists():
    assert of_conda(RECIPE["requirements"]["run"]) == REQUIREMENTS | {"python": PYTHON}
    build = of_pip(PROJECT["build-system"]["requires"])
    assert of_conda(RECIPE["requirements"]["host"]) == build | {
        "python": PYTHON,
        "pip": SpecifierSet(),
    }


def test_the_recipe_names_the_same_package_and_commands():
    project = PROJECT["project"]
    assert RECIPE["package"] == {"name": project["name"], "version": project["version"]}
    assert RECIPE["about"]["license"] == project["license"]
    commands = dict(line.split(" = ") for line in RECIPE["build"]["entry_points"])
    assert commands == project["scripts"]
    assert {line.split()[0] for line in RECIPE["test"]["commands"]} <= set(commands)


def test_the_environment_installs_this_checkout_on_the_same_python():
    *conda, pip = ENVIRONMENT
    found = of_conda(conda)
    assert found.pop("python") == PYTHON
    assert found.pop("pip") == SpecifierSet()
    # whatever else conda installs is a requirement of pyproject, no wider
    assert found
    assert found.items() <= REQUIREMENTS.items()
    assert pip["pip"] == [
        "--constraint ../constraints.txt",
        "--editable ..[test,experiments,deploy,doc]",
    ]


@pytest.mark.parametrize("group", ["", *PROJECT["project"]["optional-dependencies"]])
def test_the_constraints_pin_every_requirement_within_its_bounds(group):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    assert all(len(p.specifier) == 1 and str(p.specifier).startswith("==") for p in pins)
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][group] if group else project["dependencies"]
    for python in ("3.11", "3.12", "3.13"):
        assert python in PYTHONS
        versions = {canonicalize_name(p.name): p.specifier for p in pins if asked_for(p, python)}
        for requirement in filter(lambda r: asked_for(r, python), map(Requirement, wanted)):
            pin = str(versions[canonicalize_name(requirement.name)])[2:]
            assert pin in requirement.specifier, requirement
