"""Feature files that know which network they are of: those of another are refused, not reused.

Bob computes nothing whose file exists. A student that was trained further and evaluated again into
the same folder would get the scores of the old one.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from bob.bio.base.algorithm import Distance
from bob.pipelines import Sample, SampleSet
from sklearn.base import BaseEstimator, TransformerMixin

from ..files import SynthDistillError
from .network import NetworkRecipe


@dataclasses.dataclass(frozen=True)
class FeatureFiles:
    """Save and load embeddings with the name of what made them, as HDF5 in Bob's form.

    Parameters
    ----------
    recipe
        The network.
    mirror
        Whether embeddings are sums with the mirrored image's.
    """

    recipe: NetworkRecipe
    mirror: bool

    def origin(self) -> str:
        """Name the network and what is done with it."""
        return f"{self.recipe.fingerprint()} {'mirrored too' if self.mirror else 'not mirrored'}"

    def save(self, embedding: np.ndarray, path: str) -> None:
        """Write one embedding."""
        temporary = Path(f"{path}.part")
        with h5py.File(temporary, "w") as file:
            file["array"] = embedding
            file.attrs["origin"] = self.origin()
        temporary.replace(path)

    def load(self, path: str) -> np.ndarray:
        """Read one embedding.

        Raises
        ------
        SynthDistillError
            It is of another network, or cannot be read.
        """
        try:
            with h5py.File(path, "r") as file:
                origin, embedding = file.attrs.get("origin"), file["array"][()]
        except (OSError, KeyError) as error:
            raise SynthDistillError(
                f"cannot read the feature file {path}: {error}. Remove it, or compute all again "
                "with `--force`."
            ) from error
        if origin != self.origin():
            raise SynthDistillError(
                f"{path} is of another network than the {self.recipe} as it is now (or of other "
                "options). Compute all again with `--force`, keep no feature files with `-m`, or "
                "choose another output folder."
            )
        return embedding


class FeatureFilesStep(TransformerMixin, BaseEstimator):
    """Pass samples on: the step of a pipeline whose results Bob may save.

    Parameters
    ----------
    recipe, mirror
        As in :py:class:`FeatureFiles`.
    """

    def __init__(self, recipe: NetworkRecipe, mirror: bool = True) -> None:
        self.recipe = recipe
        self.mirror = mirror

    def fit(self, X: Any = None, y: Any = None) -> "FeatureFilesStep":  # noqa: ARG002, N803
        """Do nothing."""
        return self

    def transform(self, X: list[Sample] | list[SampleSet]) -> Any:  # noqa: N803
        """Return what came in."""
        return X

    def _more_tags(self) -> dict[str, Any]:
        files = FeatureFiles(self.recipe, self.mirror)
        return {
            "requires_fit": False,
            "stateless": True,
            "bob_features_save_fn": files.save,
            "bob_features_load_fn": files.load,
        }


class CosineScores(Distance):
    """Bob's ``Distance`` with the cosine (score = cosine - 1), and our files for references.

    Parameters
    ----------
    recipe, mirror
        As in :py:class:`FeatureFiles`.
    """

    def __init__(self, recipe: NetworkRecipe, mirror: bool = True) -> None:
        super().__init__(distance_function="cosine", factor=-1)
        self.recipe = recipe
        self.mirror = mirror

    def score_sample_templates(
        self, probe_samples: list[Sample], enroll_samples: list[Sample], score_all_vs_all: bool
    ) -> list[SampleSet]:
        """Score probes as Bob does, handing it with each probe only the references that it names.

        Bob looks through all references for each probe: on benchmarks of pairs, where a probe has
        two or three, that takes longer than the comparisons.
        """
        score = functools.partial(super().score_sample_templates, score_all_vs_all=score_all_vs_all)
        if score_all_vs_all:
            return score(probe_samples, enroll_samples)
        places: dict[str, list[int]] = {}
        for place, enrolled in enumerate(enroll_samples):
            places.setdefault(str(enrolled.template_id), []).append(place)
        scores = []
        for probe in probe_samples:
            named = {str(reference) for reference in probe.references}
            chosen = sorted(place for name in named for place in places.get(name, ()))
            scores += score([probe], [enroll_samples[place] for place in chosen])
        return scores

    def _more_tags(self) -> dict[str, Any]:
        files = FeatureFiles(self.recipe, self.mirror)
        return {
            "bob_enrolled_save_fn": functools.partial(_save_reference, files),
            "bob_enrolled_load_fn": files.load,
        }


def _save_reference(files: FeatureFiles, template: np.ndarray, path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.save(template, path)
