"""A model with its thresholds, and what it says of two faces."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.embedding import EmbeddingTransformer
from ..evaluation.network import NetworkRecipe
from ..files import SynthDistillError, atomic_write, read_record, sha256
from ..recognition.own import Network
from .benchmarked import read_benchmarks
from .folder import CONFIG, FLOAT, Source
from .photographs import Photograph


@dataclasses.dataclass(frozen=True)
class Model:
    """A recogniser and what benchmarks say of it, as :py:func:`.read_benchmarks` gives them."""

    recipe: NetworkRecipe
    benchmarks: Sequence[dict[str, Any]]

    @classmethod
    def find(cls, path: Path, network: Network | None = None) -> "Model":
        """Open an export folder or a file in it, a run folder or its student, or any model alone.

        ``network`` makes a student that is no timm model.
        """
        file = path / FLOAT if (path / CONFIG).is_file() else path
        if file.suffix == ".onnx":
            return cls(NetworkRecipe("onnx", file), _read_config(file))
        source = Source.find(path)
        measured = list(read_benchmarks(source.run)) if source.run else []
        return cls(NetworkRecipe("student", source.student, network), measured)

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """Embed aligned faces ``[N, 3, 112, 112]``, RGB, uint8, as benchmarks do: ``[N, D]``."""
        mirror = all(one["mirror"] for one in self.benchmarks)
        return EmbeddingTransformer(self.recipe, mirror=mirror).transform(faces)

    def threshold(self, fmr: float, name: str | None = None) -> tuple[float, dict[str, Any]] | None:
        """Give the cosine that must be exceeded at a false match rate, and the benchmark of it.

        That is the one of this name, or the first that can tell the rate; None where there are no
        benchmarks at all. A rate that no number of impostors can tell is refused.
        """
        known = [one for one in self.benchmarks if name in (None, one["name"])]
        for one in known:
            if f"{fmr:g}" in one["thresholds"]:
                return one["thresholds"][f"{fmr:g}"], one
        if not self.benchmarks and name is None:
            return None
        if not known:
            names = ", ".join(one["name"] for one in self.benchmarks) or "none"
            raise SynthDistillError(
                f"{self.recipe} has no threshold from {name}; there are those of: {names}."
            )
        most = max(one["impostors"] for one in known)
        raise SynthDistillError(
            f"a false match rate of {fmr:g} cannot be told by {most:,} impostor pairs: at least "
            f"{1 / fmr:,.0f} are needed. Choose a larger --fmr, or give a --threshold."
        )


def _read_config(file: Path) -> list[dict[str, Any]]:
    """Read the benchmarks that stand beside an exported file; none if it is alone."""
    path = file.parent / CONFIG
    if not path.is_file():
        return []
    try:
        config = read_record(path)
        known, measured = config["files"].get(file.name), config["benchmarks"]
        for one in measured:
            one["name"], one["title"], one["drawn"], one["mirror"], one["impostors"]
            one["thresholds"] = {key: float(t) for key, t in one["thresholds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SynthDistillError(f"cannot read {path}: {error!r}. Export again.") from error
    if known is None:
        return []
    if file.is_file() and sha256(file) != known["sha256"]:
        raise SynthDistillError(f"{file} is not what {path} says: it was replaced. Export again.")
    return measured


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Compare two embeddings ``[D]``."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def draw(path: Path, photographs: Sequence[Photograph], title: str) -> None:
    """Draw two photographs with their landmarks over their aligned faces, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    above, below = figure.subplots(2, 2, height_ratios=(3, 2))
    for photograph, upper, lower in zip(photographs, above, below, strict=True):
        step = max(1, max(photograph.image.shape) // 1000)
        upper.imshow(photograph.image[:, ::step, ::step].transpose(1, 2, 0))
        upper.plot(*(photograph.landmarks / step).T, "o", color="lime", markeredgecolor="black")
        lower.imshow(photograph.face.transpose(1, 2, 0))
        for axes in (upper, lower):
            axes.set_axis_off()
    figure.suptitle(title)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
