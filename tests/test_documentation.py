"""Whoever types what the pages say gets what they say: every command is run, in miniature."""

import re
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import numpy
import pytest
import yaml
from clapper.rc import UserDefaults
from click.testing import CliRunner
from PIL import Image

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bob" / "paper" / "ijcb2023_synthdistill"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "doc").glob("*.md")),
    *sorted((ROOT / "experiments").glob("*.md")),
    PACKAGE / "toyfaces" / "assets" / "CARD.md",
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TRAIN = "synthdistill-train tinyfar-a -o results/tinyfar-a"
EVALUATE = (
    "bob bio pipeline simple -d lfw -p results/tinyfar-a/pipeline.py -o results/tinyfar-a/lfw"
)
BEFORE = {
    "deployment.md": [TRAIN, EVALUATE],
    "evaluate.md": [TRAIN],
    "extend.md": [TRAIN],
    "tables.md": [TRAIN, EVALUATE],
}
"""What whoever reads a page has done before."""

OFFLINE = ("conda", "docker", "apptainer", "pip", "source", "PIP_EXTRA_INDEX_URL")
"""Commands that need a network or an engine, or a shell."""

SHORT = {
    "synthdistill-train": "--epochs 1 --images-per-epoch 4 --batch-size 4 --validation-images 0"
    " --device cpu --devices 1 --initialisation random",
    "synthdistill-export": "--calibration-faces 8",
    "synthdistill-toyfaces": "--pairs-per-fold 2 --benchmark lfw",
    "synthdistill-benchmark": "--iterations 1 --warmup 0 --batch-size 2 --student test_efficientnet"
    " --generator {generator} --teacher {teacher}",
}
"""What makes a command quick; options are taken where they stand last."""


def commands(text):
    """Give the lines of a shell block, continued ones joined, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


class Reader:
    """Type what a page says, in a folder of their own, where all names are those of miniatures."""

    def __init__(self, files):
        scripts = entry_points(group="console_scripts")
        self.load = {e.name: e.load for e in scripts if re.match("bob$|synthdistill-", e.name)}
        self.files = files

    def type(self, words):
        name, *rest = words
        if name.startswith(OFFLINE):
            return
        if name == "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(rest) <= set(targets)
        elif name == "snakemake":
            self.check_workflow(rest)
        elif words[:3] == ["bob", "config", "set"]:
            self.configure(*words[3:])
        else:
            self.run(name, rest)

    def run(self, name, rest):
        rest = [re.sub(r"(?<!toyfaces-)\blfw\b(?!\.)", "toyfaces-lfw", word) for word in rest]
        # both begin processes of their own, in the tests of their rooms
        for flag in {"-l", "--compare"}.intersection(rest):
            del rest[rest.index(flag) : rest.index(flag) + 2]
        if "tinyfar-a" in rest:
            rest += ["--student", "test_efficientnet"]
        rest += SHORT.get(name, "").format(**self.files).split()
        result = CliRunner().invoke(self.load[name](), rest)
        told = f"{name} {' '.join(rest)}\n{result.output}"
        if isinstance(result.exception, Exception):
            raise AssertionError(told) from result.exception
        # not all is in place for the paper's tables
        assert result.exit_code == (1 if "--check" in rest else 0), told

    def configure(self, key, value):
        """Do what `bob config set` does, which keeps to the folder that it found first."""
        settings = UserDefaults("bobrc.toml")
        settings[key] = value
        settings.write()

    def check_workflow(self, rest):
        """Snakemake itself is run by tests/experiments."""
        known = (ROOT / "experiments" / "rows.py").read_text()
        tables = {path.stem for path in (ROOT / "experiments" / "tables").glob("*.toml")}
        options = re.split(r" --?(?=[a-z])", " ".join(rest))
        settings = re.findall(r"(\w+)=", " ".join(o for o in options if o.startswith("config ")))
        assert all(f"\n    {setting}: " in known for setting in settings), settings
        assert tables.intersection(rest) or "-n" in rest or "--executor" in rest


@pytest.fixture(scope="session")
def reader(micro_generator, small_teacher):
    return Reader({"generator": micro_generator, "teacher": small_teacher})


@pytest.fixture
def desk(tmp_path, monkeypatch, reader):
    """A folder with the few files that readers have of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    modules = set(sys.modules)
    (tmp_path / ".config").mkdir()
    (tmp_path / "photographs").mkdir()
    rows = ["left,right,genuine"]
    for pair in range(40):
        rows.append(f"{pair}.png,{(pair + pair % 2) % 40}.png,{1 - pair % 2}")
        noise = numpy.random.default_rng(pair).integers(0, 256, (112, 112, 3), numpy.uint8)
        Image.fromarray(noise).save(tmp_path / "photographs" / f"{pair}.png")
    (tmp_path / "photographs" / "pairs.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "own.py").write_text(
        "import torch\n\ndef network():\n    torch.manual_seed(1)\n    return torch.nn.Sequential("
        "torch.nn.AvgPool2d(28), torch.nn.Flatten(), torch.nn.Linear(48, 8))\n"
    )
    reader.run("synthdistill-toyfaces", ["drawn", "--layout", "bin"])
    prefix = "bob.paper.ijcb2023_synthdistill"
    for key, value in {**reader.files, "toyfaces": tmp_path / "drawn"}.items():
        reader.configure(f"{prefix}.{key}", str(value))
    yield tmp_path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


def stand_in(text, files):
    """Put what is there where a page says that something of the reader's is."""
    for theirs, ours in {
        r"/path/to/\S*stylegan2\S*\.pkl": files["generator"],
        r"/path/to/\S*\.pth": files["teacher"],
        r"package\.module:name": "own:network",
        r"anna/1": "0",
    }.items():
        text = re.sub(theirs, str(ours), text)
    return text


def blocks(page):
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if {"sh", "python"} & {language for language, _ in blocks(page)}],
    ids=lambda page: page.stem,
)
def test_every_command_of_the_page_runs(page, desk, reader):
    for line in BEFORE.get(page.name, []):
        reader.type(line.split())
    for language, text in blocks(page):
        text = stand_in(text, reader.files)
        if language == "sh" and not text.startswith("#!"):
            for words in commands(text):
                reader.type(words)
        elif language == "python":
            head = re.match(r"# (\S+\.py)(: (.*))?\n", text)
            assert head, f"a block of Python begins with the name of its file:\n{text}"
            assert len(text.splitlines()) < 20
            (desk / head[1]).write_text(text)
            if head[3]:
                reader.type(head[3].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_names_exists(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#\S*)?\)", text):
        assert (page.parent / link).exists() or link.startswith("outputs/"), link
    for path in re.findall(r"`((?:doc|experiments|tests|toyfaces)/[\w/]+\.\w+)`", text):
        assert (ROOT / path).exists() or (PACKAGE / path).exists(), path
    for line in re.findall(r"`((?:synthdistill-[a-z]+) [^`]+)`", text.replace("\n", " ")):
        name, *rest = shlex.split(line)
        command = entry_points(group="console_scripts")[name].load()
        command.make_parser(click.Context(command)).parse_args([w for w in rest if w != "..."])


def test_the_hooks_are_the_tools_of_ci():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    tools = [hook["entry"].split()[0] for hook in repository["hooks"][:3]]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"$(BIN)/{Path(tool).name}" in makefile for tool in tools)
