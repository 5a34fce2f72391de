"""Sphinx: `make doc` writes build/doc, with warnings as errors."""

import logging
import subprocess
import sys
import tomllib
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
release = version = PROJECT["version"]
author = PROJECT["authors"][0]["name"]
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
templates_path = ["_templates"]
exclude_patterns = ["_templates"]
# the two generators have one name, and either is meant
suppress_warnings = ["ref.python"]
add_module_names = False
# single backticks in docstrings and help texts are what the user types
default_role = "literal"
html_theme = "furo"
html_title = f"SynthDistill {version}"

myst_enable_extensions = ["substitution"]
CLICK = ".. click:: {1}\n   :prog: {0}\n"
commands = "".join(CLICK.format(*command) for command in sorted(PROJECT["scripts"].items()))
myst_substitutions = {"commands": f"```{{eval-rst}}\n{commands}```"}
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False

intersphinx_mapping = {
    "bob.bio.base": ("https://www.idiap.ch/software/bob/docs/bob/bob.bio.base/master/", None),
    "clapper": ("https://www.idiap.ch/software/clapper/doc/", None),
    "click": ("https://click.palletsprojects.com/en/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "python": ("https://docs.python.org/3", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
intersphinx_timeout = 5


def told(record: logging.LogRecord) -> bool:
    """Let pages be built offline: an inventory that is out of reach costs its links alone."""
    if "failed to reach any of the inventories" in record.getMessage():
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def unlink(app, doctree):  # noqa: ARG001
    """Take what has an @ in it, such as tar@1e-3, for no address."""
    for link in list(doctree.findall(nodes.reference)):
        if link.get("refuri", "").startswith("mailto:"):
            link.replace_self(link.children)


def setup(app):
    """Make what the pages show, and let autodoc, not numpydoc, read the signatures of aliases."""
    if not (ROOT / "doc" / "outputs").exists():
        subprocess.run([sys.executable, ROOT / "doc" / "outputs.py"], check=True)  # noqa: S603 - ours
    logging.getLogger("sphinx.sphinx.ext.intersphinx").addFilter(told)
    app.connect("doctree-read", unlink)
    # our aliases of dict and list are of a module without source
    app.connect("env-check-consistency", lambda _, env: env._viewcode_modules.pop("builtins", 0))
    for listener in list(app.events.listeners["autodoc-process-signature"]):
        if listener.handler.__module__.startswith("numpydoc"):
            app.disconnect(listener.id)
