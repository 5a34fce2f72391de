"""Bob's simple pipeline with some pixels for an embedding."""

from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import PipelineSimple, execute_pipeline_simple
from bob.pipelines import wrap
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline


def embed(image):
    """Stand in for a network: some pixels."""
    return image.astype(float).ravel()[::97] - 128.0


class Pixels(TransformerMixin, BaseEstimator):
    def fit(self, samples, y=None):
        return self

    def transform(self, images):
        return [embed(image) for image in images]

    def _more_tags(self):
        return {"requires_fit": False, "stateless": True}


def run(database, folder, checkpoint=False, client=None):
    pipeline = PipelineSimple(make_pipeline(wrap(["sample"], Pixels())), Distance())
    execute_pipeline_simple(
        pipeline,
        database,
        client,
        ["dev"],
        str(folder),
        write_metadata_scores=True,
        checkpoint=checkpoint,
        dask_n_partitions=3,
        dask_partition_size=None,
        dask_n_workers=None,
    )
    return folder / "scores-dev.csv"
