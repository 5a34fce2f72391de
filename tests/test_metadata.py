"""The version and the licence are said once, in pyproject.toml; what repeats them agrees."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_citation_and_changelog_name_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    found = {key: citation[key] for key in ("title", "version", "license")}
    assert found == {"title": PROJECT["name"]} | {k: PROJECT[k] for k in ("version", "license")}
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == PROJECT["version"]


def test_every_licence_that_is_named_is_there():
    (annotation,) = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"]
    assert annotation["SPDX-License-Identifier"] == PROJECT["license"]
    assert [p.name for p in (ROOT / "LICENSES").iterdir()] == [f"{PROJECT['license']}.txt"]
