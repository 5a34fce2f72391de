"""The model card: what people must know before they use an exported student."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..machine import PROJECT

PAPER = "Otroshi Shahreza, George and Marcel: SynthDistill, IJCB 2023"

ORIGINS = {
    "bob/paper/ijcb2023_synthdistill/": "a part of this package, BSD-3-Clause; of drawn faces",
    "stylegan": "NVIDIA's, for research and evaluation only: read the licence on its page",
    "iresnet": "InsightFace's and Bob's, for non-commercial research: read the licence on its page",
}
"""What is known of files by a part of their path: their origin and licence."""

USE = """```python
import numpy, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
# aligned faces: the eyes at (x, y) = (38.3, 51.6) and (73.5, 51.6)
faces = numpy.zeros((2, 3, 112, 112), numpy.float32)  # RGB, 0 to 255
first, second = session.run(None, {"faces": faces})[0]
cosine = first @ second / numpy.linalg.norm(first) / numpy.linalg.norm(second)
```"""

INTENDED = """\
Comparing two aligned faces, or a face with a gallery, where those concerned have agreed and a
person decides in the end. Not for watching people, for guessing who somebody is or feels, nor for a
decision about a person by the score alone.

Limits: thresholds hold for the benchmark that they are from, and for faces like its own; measure on
yours. Errors differ between groups of people, and nothing here measures by how much: this package
has no data for it. The student never saw a photograph, but it learned from a teacher and a
generator, and has their gaps. Nothing detects that a face is a picture, a mask or synthetic."""

DRAWN = """\
**Drawn faces.** The benchmarks are of ToyFaces, the miniature world of the package: a student
trained on drawn faces recognises drawn faces, and nobody in a photograph."""


def make_card(config: Mapping[str, Any]) -> str:
    """Write the card of an export by its ``config.json``: Markdown with the hub's metadata."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    measured, record = config["benchmarks"], config["trained"]
    name = f"SynthDistill {config['architecture']}"
    origins = {
        kind: _origin(file.get("path", "")) for kind, file in record.get("files", {}).items()
    }
    own = {*origins.values()} == {next(iter(ORIGINS.values()))}
    data = ModelCardData(
        license="bsd-3-clause" if own else "other",
        library_name="onnxruntime",
        pipeline_tag="image-feature-extraction",
        tags=["face-recognition", "knowledge-distillation", "synthetic-data", "onnx"],
        model_name=name,
        eval_results=[
            EvalResult(
                "face-verification",
                one["name"],
                one["title"],
                metric_type="accuracy",
                metric_value=round(one["accuracy"], 4),
            )
            for one in measured
        ]
        or None,
    )
    parts = [
        f"# {name}",
        f"A face recogniser of {config['parameters'] / 1e6:.2f} M parameters and "
        f"{config['multiply_adds'] / 1e6:.1f} M multiply-adds a face"
        + ", distilled from generated faces without a photograph" * _is_distilled(record)
        + f" ({PAPER}; `{PROJECT}` {config['package_version']}).",
        DRAWN * any(one["drawn"] for one in measured),
        "## Use",
        USE,
        f"Embeddings have {config['embedding_size']} elements and are "
        f"{'of length 1' if config['normalised'] else 'not normalised'}: compare them by cosine. "
        "With the package: `synthdistill-verify a.jpg b.jpg --model .`",
        _table(("file", "MB", ""), _files(config)),
        "## Training",
        _table(("", ""), _training(record, origins)),
        "## Benchmarks and thresholds",
        _table(
            ("benchmark", "accuracy, %", "impostors", "FMR 1e-2", "FMR 1e-3", "FMR 1e-4"),
            _benchmarks(measured),
        ),
        "Accuracy: 10 folds, ± population standard deviation over folds. A pair is the same person "
        "if its cosine is above the threshold; an empty cell is a rate that the number of "
        "impostors cannot tell. "
        + "Embeddings are f(face) + f(mirrored face). " * any(one["mirror"] for one in measured)
        + "Scores are those of the student in torch."
        if measured
        else "None: no score files stood in the run folder. No threshold is known.",
        "## Time of one face",
        *_latency(config.get("latency")),
        "## Intended use and limits",
        INTENDED,
    ]
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n")
    return str(card)


def _is_distilled(record: Mapping[str, Any]) -> bool:
    """Tell whether a run learned from generated faces only, as the paper's method does."""
    return bool(record) and record["options"].get("method") == "distillation"


def _origin(path: str) -> str:
    known = (origin for part, origin in ORIGINS.items() if part in path.lower())
    return next(known, "licence unknown to the package: add it here")


def _files(config: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, file in config["files"].items():
        what = "the weights, for the package"
        if "deviation_from_torch" in file:
            what = f"float32; deviates from torch by {file['deviation_from_torch']:.1e}"
        elif "mean_cosine" in file:
            what = (
                f"8 bits but for {file['kept']} of {len(file['damage'])} operations, "
                f"calibrated on {file['calibration_faces']} generated faces; cosine to float32 "
                f"{file['mean_cosine']:.4f} on average, at least {file['least_cosine']:.4f}"
            )
        yield f"`{name}`", f"{file['bytes'] / 1e6:.2f}", what


def _training(record: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    if not record:
        yield "unknown", "no run folder stood beside the student: say here what is known"
        return
    yield "photographs", "none" if _is_distilled(record) else "unknown: another method trained it"
    for kind, origin in origins.items():
        file = record["files"][kind]
        name = file["path"].rpartition("/")[2]
        yield kind, f"`{name}`, SHA-256 {file['sha256'][:16]}…: {origin}"
    yield "images", f"{record['images']:,} generated, fresh and re-sampled"
    for name, value in record["options"].items():
        if name not in origins and value is not None:
            yield name.replace("_", " "), f"`{value}`"


def _benchmarks(measured: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in measured:
        limits = (one["thresholds"].get(fmr) for fmr in ("0.01", "0.001", "0.0001"))
        yield (
            one["title"] + " (drawn faces)" * one["drawn"],
            f"{100 * one['accuracy']:.2f} ± {100 * one['accuracy_std']:.2f}",
            f"{one['impostors']:,}",
            *("" if limit is None else f"{limit:.3f}" for limit in limits),
        )


def _latency(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        yield "Not measured: `synthdistill-export --latency`."
        return
    threads = list(found["ms"]["torch"])
    yield _table(
        ("ms: median (95th percentile)", *(f"{n} thread{'s' * (n != '1')}" for n in threads)),
        (
            (name, *(f"{times[n]['median']:.2f} ({times[n]['p95']:.2f})" for n in threads))
            for name, times in found["ms"].items()
        ),
    )
    yield f"Batch 1, {found['passes']} passes, {found['processor']}."


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [tuple(head), ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if len(lines) > 2 else ""
