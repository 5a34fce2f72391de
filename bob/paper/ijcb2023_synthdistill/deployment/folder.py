"""The export folder: a student in every form that people deploy, and what is known of it."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import GENERATOR as GENERATOR_KEY
from ..files import SynthDistillError, bob_pipeline, configured_path, read_record, sha256
from ..machine import PROJECT, package_version
from ..recognition.own import Network

logger = logging.getLogger(__name__)

STUDENT, FLOAT, INT8 = "model.safetensors", "model.onnx", "model.int8.onnx"
CARD, CONFIG = "README.md", "config.json"
PIPELINES = {FLOAT: "pipeline.py", INT8: "pipeline_int8.py"}
FORMAT = 1


@dataclass(frozen=True)
class Source:
    """A student to be deployed: its file, its run folder if it is in one, and ``options.json``."""

    student: Path
    run: Path | None
    record: Mapping[str, Any]

    @classmethod
    def find(cls, path: Path) -> "Source":
        """Find the student of a run folder, or the run folder of a student's file."""
        student = path / "student.safetensors" if path.is_dir() else path
        if not student.is_file():
            raise SynthDistillError(
                f"expected a run folder with student.safetensors, or a student's file, at {path}: "
                f"{'it holds none' if path.is_dir() else 'there is nothing'}."
            )
        options = student.parent / "options.json"
        if student.name != "student.safetensors" or not options.is_file():
            return cls(student, None, {})
        try:
            record = read_record(options)
            described = (record["options"], record["files"], record["images"], record["student"])
            if not all(isinstance(part, dict) for part in described[:2]):
                raise TypeError("its options are not those of a run")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SynthDistillError(
                f"cannot read {options}, what the student was trained on: {error!r}. Copy "
                f"{student.name} elsewhere to export it without."
            ) from error
        return cls(student, student.parent, record)

    def generator(self) -> Path:
        """Find the generator of the run, of several the first, by its content."""
        known = self.record.get("files", {})
        files = (file for name, file in known.items() if "generator" in name)
        recorded = next(files, {"path": "", "sha256": "none"})
        # a file of this package lies elsewhere on another machine
        own = recorded["path"].rpartition("/ijcb2023_synthdistill/")[2]
        places = (recorded["path"], Path(__file__).parents[1] / own, configured_path(GENERATOR_KEY))
        for path in map(Path, filter(None, places)):
            if path.is_file() and sha256(path) == recorded["sha256"]:
                return path
        raise SynthDistillError(
            f"8 bits are calibrated on generated faces, and the generator of {self.student} is not "
            f"at {recorded['path'] or 'a known place'}: say where with --generator FILE, or leave "
            "them out with --no-int8."
        )


def check_folder(folder: Path, force: bool) -> None:
    """Refuse to write into a folder with something else in it, and ever into a run folder."""
    if any((folder / name).exists() for name in ("options.json", "student.safetensors")):
        raise SynthDistillError(f"{folder} is a run folder: export into one below it, or another.")
    if folder.exists() and not folder.is_dir():
        raise SynthDistillError(f"{folder} is a file: give another name for the folder.")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise SynthDistillError(
            f"{folder} is not empty: give another name, or --force to replace the export in it."
        )


def export(
    source: Source,
    folder: Path,
    *,
    normalise: bool = False,
    int8: bool = True,
    generator: Path | None = None,
    calibration_faces: int = 256,
    network: Network | None = None,
    latency: bool = False,
) -> dict[str, Any]:
    """Write a student's export folder, whole or not at all, and give its ``config.json``.

    ``network`` makes a student that is no timm model, as for ``load_student``.
    """
    from ..evaluation.complexity import count_multiply_adds
    from ..recognition.student import Student, count_parameters, load_student, save_student
    from ..weights import read_weights
    from .model_card import make_card
    from .onnx_export import Deployed, export_onnx

    generator = (generator or source.generator()) if int8 else None
    student = load_student(source.student, network)
    described = {
        "package": PROJECT,
        "package_version": package_version(PROJECT),
        "architecture": student.architecture if isinstance(student, Student) else student.name,
        "embedding_size": student.embedding_size,
        "parameters": count_parameters(student),
        "multiply_adds": count_multiply_adds(student),
    }
    metadata = {name: str(value) for name, value in described.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made = Path(temporary)
        logger.info("writing %s, and comparing it with torch", FLOAT)
        deviation = export_onnx(student, made / FLOAT, normalise, metadata)
        files: dict[str, dict[str, Any]] = {FLOAT: {"deviation_from_torch": deviation}}
        logger.info("largest deviation from torch: %.1e of the embedding's length", deviation)
        if generator is not None:
            files[INT8] = _quantise(made, generator, calibration_faces)
        save_student(made / STUDENT, student, **read_weights(source.student, "a student")[1])
        files[STUDENT] = {}
        for name in set(PIPELINES) & set(files):
            text = bob_pipeline("The exported student", "onnx", name, PIPELINES[name])
            (made / PIPELINES[name]).write_text(text)
        for name, file in files.items():
            file |= {"bytes": (made / name).stat().st_size, "sha256": sha256(made / name)}
        config = {
            "format": FORMAT,
            **described,
            "input": "faces [batch, 3, 112, 112], float32, RGB, [0, 255], aligned",
            "output": f"embeddings [batch, {student.embedding_size}], float32",
            "normalised": normalise,
            "files": files,
            "benchmarks": _benchmarks(source.run),
            "trained": dict(source.record),
        }
        if latency:
            from .latency import measure_latency

            logger.info("timing")
            models = {name: made / name for name in (FLOAT, INT8) if name in files}
            config["latency"] = measure_latency(Deployed(student, normalise), models)
        (made / CARD).write_text(make_card(config), encoding="utf-8")
        _publish(made, folder, config)
    return config


def _quantise(made: Path, generator: Path, count: int) -> dict[str, Any]:
    from .quantisation import PROBES, WANTED, generate_faces, quantise

    logger.info("generating %d faces, and finding what 8 bits cost on them", count + PROBES)
    faces = generate_faces(generator, count + PROBES)
    found = quantise(made / FLOAT, made / INT8, faces)
    logger.info(
        "8 bits: mean cosine to the float embeddings %.4f, least %.4f; %d of %d operations stay in "
        "float32",
        *(found.mean_cosine, found.least_cosine, found.kept, len(found.damage)),
    )
    if found.mean_cosine < WANTED:
        logger.warning("8 bits cost this student much: evaluate it first (%s)", PIPELINES[INT8])
    return {"calibration_faces": count, "generator_sha256": sha256(generator), **found._asdict()}


def _benchmarks(run: Path | None) -> list[dict[str, Any]]:
    from .benchmarked import read_benchmarks

    try:
        return list(read_benchmarks(run)) if run else []
    except SynthDistillError as error:
        logger.warning("benchmarks and thresholds are left out: %s", error.message)
        return []


def _publish(made: Path, folder: Path, config: Mapping[str, Any]) -> None:
    """Move the files into the folder; its configuration, which names them by content, last."""
    from ..files import write_record

    try:
        folder.mkdir(exist_ok=True)
        for name in (CONFIG, *PIPELINES.values(), FLOAT, INT8):
            (folder / name).unlink(missing_ok=True)
        for path in sorted(made.iterdir()):
            path.replace(folder / path.name)
    except OSError as error:
        raise SynthDistillError(
            f"cannot write to {folder}: {error.strerror or error}. Choose another folder with -o."
        ) from error
    write_record(folder / CONFIG, config)
