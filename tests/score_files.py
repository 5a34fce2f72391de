"""Score files as Bob writes them: of a made-up benchmark of 200 pairs, or by an evaluation."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from bob.paper.ijcb2023_synthdistill.evaluation.provenance import write_origin
from bob.paper.ijcb2023_synthdistill.evaluation.results import SCORES

PAIRS = 200


class FakeBenchmark:
    """Pairs and folds as a ``Verification`` gives them, without files."""

    def __init__(self, name):
        self.name, self.title = name, f"own {name}"

    def pairs(self):
        numbers = np.arange(PAIRS)
        names = {side: [f"{self.name}/{side} {n}" for n in numbers] for side in ("left", "right")}
        return pd.DataFrame({**names, "genuine": numbers % 20 < 10, "fold": numbers // 20})

    def describe(self):
        return f"{self.name}: made up"

    def fingerprint(self):
        return f"pairs and images of {self.name}"


def write_scores(path, database, seed=0, distance=1.0):
    """Write cosine scores in which genuine pairs are ``distance`` deviations above impostors."""
    pairs = FakeBenchmark(database).pairs()
    rng = np.random.default_rng([seed, len(database)])
    score = 0.2 * (rng.normal(size=PAIRS) + distance * pairs["genuine"]) - 1
    names = {"left": "probe_template_id", "right": "bio_ref_template_id"}
    scores = pairs.rename(columns=names).assign(score=np.clip(score, -2, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Bob's rows are not in the order of the pairs
    scores.sample(frac=1, random_state=seed).to_csv(path, index=False)


def write_record(path, database, network, fingerprint=""):
    """Write the record of a score file that was made with the network's file as it is now."""
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    fingerprint = fingerprint or FakeBenchmark(database).fingerprint()
    description = {
        "network": {"kind": "student", "place": str(network), "sha256": digest},
        "database": {"name": database, "description": "made up", "fingerprint": fingerprint},
        "options": {"mirror": True},
    }
    write_origin(path, path, description)


class Pixels(nn.Module):
    """Stands in for a network: some pixels."""

    def forward(self, faces):
        return faces.flatten(1)[:, ::97]

    @staticmethod
    def embed(image):
        """Embed an image ``[3, H, W]`` in [0, 255] with numpy."""
        return image.astype(float).ravel()[::97] - 127.5


def evaluate(pipeline, database, output, client=None, checkpoint=False, size=None, metadata=True):
    """Evaluate as Bob's command does, with dask if there is a client; give the score file."""
    from bob.bio.base.pipelines import execute_pipeline_simple

    execute_pipeline_simple(
        pipeline,
        database,
        client,
        groups=["dev"],
        output=str(output),
        write_metadata_scores=metadata,
        checkpoint=checkpoint,
        dask_partition_size=size,
        dask_n_partitions=None,
        dask_n_workers=None,
    )
    return (Path(output) / (SCORES if metadata else "scores-dev")).read_bytes()
