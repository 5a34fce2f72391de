"""What the tables need: their declarations (`tables/*.toml`) as commands, for the Snakefile."""

import dataclasses
import functools
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bob.paper.ijcb2023_synthdistill import toyfaces
from bob.paper.ijcb2023_synthdistill.files import (
    TEACHER,
    SynthDistillError,
    configured_path,
    nearest,
    read_record,
    sha256,
)
from bob.paper.ijcb2023_synthdistill.toyfaces.benchmarks import cache_folder

EXPORTS = {
    "float": ("model.onnx", "pipeline.py"),
    "int8": ("model.int8.onnx", "pipeline_int8.py"),
}
"""Forms of an exported student: the file, and the pipeline beside it."""

TABLES = Path(__file__).parent / "tables"
OURS = {"student", "options", "pipeline", "optional", "variants", "export"}
"""What a row says to this module; all else goes on to `synthdistill-table`."""

digest = functools.cache(sha256)


@dataclass(frozen=True)
class Settings:
    """What `snakemake --config` says: see the Snakefile."""

    variant: str = "toyfaces"
    seeds: tuple[int, ...] = (2021,)
    options: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    results: Path = Path("results/toyfaces")
    table: Path | None = None
    optional: bool = False
    rate: float | None = None

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Settings":
        """Read the settings, refusing names and seeds that cannot be."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in config:
            if name not in known:
                hint = f"{nearest(name, known)} Known: {', '.join(known)}."
                raise SynthDistillError(f"--config {name}: unknown.{hint}")
        values = dict(config)
        values["results"] = Path(
            config.get("results", f"results/{values.get('variant', cls.variant)}")
        )
        for name in {"options", "machine"} & config.keys():
            values[name] = tuple(shlex.split(str(config[name])))
        for name in {"databases", "seeds"} & config.keys():
            values[name] = tuple(str(config[name]).split(","))
        if not all(str(seed).isdecimal() for seed in values.get("seeds", ())):
            raise SynthDistillError("--config seeds: expected whole numbers, such as 2021,2022")
        values["seeds"] = tuple(map(int, values.get("seeds", cls.seeds)))
        values["table"] = Path(config["table"]) if "table" in config else None
        return cls(**values)


@dataclass(frozen=True)
class Run:
    """A training: its folder's name, and the command's words but for the output folder."""

    name: str
    words: tuple[str, ...]

    @functools.cached_property
    def options(self) -> Any:
        """What the command line resolves to, read by the command itself."""
        from bob.paper.ijcb2023_synthdistill.scripts.train import resolve, train

        return resolve(train.make_context("synthdistill-train", [*self.words, "--output", "."]))

    @functools.cached_property
    def built(self) -> list[Path]:
        """List its teachers that are trained first."""
        teachers = self.options.teacher if isinstance(self.options.teacher, list) else []
        return [path for path in teachers if cache_folder() in path.parents]

    def describe(self, device: str = "", built: bool = True) -> dict[str, Any]:
        """Give what ``options.json`` says of such a run on a device: files by their content.

        Without teachers that are to be ``built`` it is the same before and after that.
        """
        from bob.paper.ijcb2023_synthdistill.distillation.options import find_files
        from bob.paper.ijcb2023_synthdistill.distillation.run_folder import describe_run

        configs = [word for word in self.words if word.endswith(".py")]
        options = self.options
        if not built and self.built:
            others = [path for path in options.teacher if path not in self.built]
            options = dataclasses.replace(options, teacher=others)
        return describe_run(find_files(options), device, configs)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """All that the student depends on, by name; none where a file of it is missing."""
        try:
            described = self.describe(built=False)
        except SynthDistillError:
            return {}
        return {**described["options"], "sources": described["sources"]}

    def restart(self, folder: Path) -> tuple[str, ...]:
        """Give the option that moves a run of other options away: nothing is deleted."""
        from bob.paper.ijcb2023_synthdistill.distillation.run_folder import RunFolder

        record = folder / "options.json"
        if not record.is_file() or not self.identity:
            return ()
        try:
            # jobs may run on another device than this process: the training looks at that
            RunFolder(folder).check(self.describe(read_record(record)["options"]["device"]))
        except (SynthDistillError, OSError, ValueError, KeyError, TypeError):
            return ("--restart",)
        return ()


@dataclass(frozen=True)
class Row:
    """A row to be measured: a training for each seed, or the pipeline of a model that is there.

    Of trainings with an ``export``, that form of the student is measured.
    """

    declared: dict[str, Any]
    runs: tuple[Run, ...] = ()
    pipeline: str = ""
    export: str = ""

    @property
    def models(self) -> list[str]:
        """Names of the models' folders; none where the row's training was not asked for."""
        if self.pipeline:
            return [Path(self.pipeline).stem]
        return [run.name + f"-{self.export}" * bool(self.export) for run in self.runs]


@dataclass(frozen=True)
class Table:
    """A table in one variant.

    ``declared`` is what stands above its rows, ``rows`` what is to be measured, ``published`` the
    criteria of each row of published results, ``databases`` the columns.
    """

    declared: dict[str, Any]
    rows: tuple[Row, ...]
    published: tuple[dict[str, str], ...]
    databases: tuple[str, ...]

    def resolve(self, runs: Path) -> str:
        """Write the rows as `synthdistill-table --rows` takes them, for models under ``runs``."""
        import tomli_w

        rows: list[dict[str, Any]] = []
        for row in self.rows:
            rows.append({**row.declared, "folders": [str(runs / name) for name in row.models]})
            if file := teacher_file(row.pipeline):
                rows[-1] |= {"kind": "teacher", "file": str(file)}
            if row.export and row.runs:
                place = runs / "exported" / row.runs[0].name / EXPORTS[row.export][0]
                rows[-1] |= {"kind": "onnx", "file": str(place)}
        rows += [{"published": criteria} for criteria in self.published]
        return tomli_w.dumps({**self.declared, "databases": list(self.databases), "rows": rows})


def teacher_file(pipeline: str) -> Path | None:
    """Give the file behind one of our two teachers' pipelines."""
    if Path(pipeline).stem == "toyfaces_teacher":
        return toyfaces.TEACHER
    return configured_path(TEACHER) if pipeline == "synthdistill-teacher" else None


def pipeline_digest(pipeline: str) -> list[str]:
    """Hash what is known of the files behind a pipeline: the teacher, or its own file."""
    files = [teacher_file(pipeline), Path(pipeline)]
    return [digest(file) for file in files if file and file.is_file()]


def load_all(settings: Settings, folder: Path = TABLES) -> dict[str, Table]:
    """Read all declarations, and the user's own, by name."""
    paths = [path for path in sorted(folder.glob("*.toml")) if path.stem != "variants"]
    paths += [settings.table] if settings.table else []
    return {path.stem: load(path, settings) for path in paths}


def load(path: Path, settings: Settings) -> Table:
    """Read a table's declaration in the settings' variant."""
    worlds = _read(TABLES / "variants.toml")
    if settings.variant not in worlds:
        raise SynthDistillError(f"variant {settings.variant!r}: expected {' or '.join(worlds)}")
    world, content = worlds[settings.variant], _read(path)
    rows, published = [], []
    for row in _in_variant(content.pop("rows", []), settings.variant, worlds):
        student, pipeline = row.get("student"), row.get("pipeline")
        declared = {name: value for name, value in row.items() if name not in OURS}
        if "published" in row:
            published.append(row["published"])
        elif bool(student) == bool(pipeline):
            raise SynthDistillError(
                f"{path}: row {row.get('label')!r} needs either a student (to train) or a pipeline "
                "(of a model that is there), or `published` criteria instead of both"
            )
        elif pipeline:
            known = world["pipelines"].get(pipeline)
            rows.append(Row(declared, pipeline=_beside_tables(known) if known else pipeline))
        elif "optional" in row and not settings.optional:
            rows.append(Row(declared))
        else:
            configs = world["students"].get(student, student)
            configs = [configs] if isinstance(configs, str) else map(_beside_tables, configs)
            words = [*configs, *settings.options]
            for name, value in row.get("options", {}).items():
                words += [f"--{name.replace('_', '-')}", str(value)]
            export = row.get("export", "")
            if export and export not in EXPORTS:
                raise SynthDistillError(f"{path}: export {export!r}: expected float or int8")
            rows.append(Row(declared, tuple(_runs(words, settings.seeds)), export=export))
    content["title"] = f"{content.get('title', path.stem)} ({settings.variant})"
    # nobody published anything about drawn faces
    others = published if settings.variant == "real" else []
    databases = settings.databases or tuple(world["databases"])
    return Table(content, tuple(rows), tuple(others), databases)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SynthDistillError(f"cannot read the declaration {path}: {error}") from error


def _beside_tables(name: str) -> str:
    """Give the path of a file beside the tables; of anything else the name."""
    file = TABLES / name
    return os.path.relpath(file) if file.is_file() else name


def _in_variant(
    rows: Sequence[dict[str, Any]], variant: str, worlds: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Lay what a row says of the variant over what it says of all."""
    for declared in rows:
        row = {name: value for name, value in declared.items() if name not in worlds}
        row |= declared.get(variant, {})
        if variant in row.get("variants", worlds):
            yield row


def _runs(words: Sequence[str], seeds: Sequence[int]) -> Iterator[Run]:
    """Name a training by its words: what tables have in common is trained once."""
    stem = "-".join(Path(word).stem if word.endswith(".py") else word for word in words)
    stem = re.sub(r"[^\w.]+", "-", stem)
    for seed in seeds:
        yield Run(f"{stem}-seed-{seed}", (*words, "--seed", str(seed)))


def missing(settings: Settings, databases: Sequence[str]) -> list[str]:
    """List what the paper's scale needs and the user's Bob configuration does not name."""
    from bob.paper.ijcb2023_synthdistill.fetching import needs

    found = []
    for need in needs().values() if settings.variant == "real" else ():
        if need.name in ("generator", "teacher", *databases) and need.key:
            path = configured_path(need.key)
            if path is None or not path.exists():
                found.append(f"{need.name}: {need.command}")
    return found


def fingerprint(database: str) -> str:
    """Give a digest that changes with a benchmark's pairs and images."""
    from bob.paper.ijcb2023_synthdistill.benchmarks.verification import Verification

    try:
        return Verification(database).fingerprint()
    except SynthDistillError:
        return "missing"
