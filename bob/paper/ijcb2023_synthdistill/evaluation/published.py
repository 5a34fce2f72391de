"""Published results, each with its source: what others measured, never what we did."""

import functools
from importlib.resources import files

import pandas as pd

from ..benchmarks.benchmark import REAL
from ..files import SynthDistillError, nearest

FIELDS = ("model", "group", "training_data", "synthetic_images", "source", "verified")
"""Columns of text; ``verified`` is ``read at source``, or ``secondary source`` when another work's
table was read."""


SECTIONS = {
    "this paper": "SynthDistill, as published",
    "teacher": "its teacher, as published",
    "lightweight recognisers trained on real data": "small networks trained on photographs",
    "nearest same-task evidence (AdaDistill)": (
        "a small network of others, distilled (AdaDistill) or not, and its teacher"
    ),
    "real training data (ResNet-50-class recogniser)": (
        "a network as large as ResNet-50, trained on photographs"
    ),
    "earlier synthetic training sets (ResNet-50-class recogniser, no distillation)": (
        "networks as large as ResNet-50, trained on earlier synthetic faces, not distilled"
    ),
    "later synthetic training sets (large recogniser, no distillation)": (
        "large networks trained on later synthetic faces, not distilled"
    ),
}
"""What a table says of each group; those from the students' class, and their teachers, first."""

COMPARABLE = tuple(SECTIONS)[:4]
"""Groups that stand beside students unless others are asked for."""


@functools.cache
def published_results() -> pd.DataFrame:
    """Read the published results that ship with the package, as rows of a table.

    What its source does not say is None: no value comes from memory. ``mflops`` are as the source
    counts them: sources differ in whether a multiply-add is one or two, and do not always say.
    """
    with (files(__package__) / "published_results.csv").open(encoding="utf-8") as stream:
        found = pd.read_csv(stream, dtype=str)
    columns = {one.name.replace("-", "_"): one.name for one in REAL} | {"params_m": "parameters"}
    found = found.rename(columns=columns).assign(
        section=found["group"].map(SECTIONS),
        kind="published",
        source=found["source"] + " (" + found["verified"] + ")",
    )
    scales = {"parameters": 1e6, "mflops": 1.0, **{one.name: 0.01 for one in REAL}}
    for name, scale in scales.items():
        # rounded, so that 99.52 % is 0.9952 and prints as 99.52 again
        found[name] = (found[name].astype(float) * scale).round(10)
    found["parameters"] = found["parameters"].astype("Int64")
    return found.astype(object).where(found.notna(), None)


def select_published(**criteria: str) -> pd.DataFrame:
    """Find published results whose fields begin with the given texts; at least one.

    A mistyped field or name is refused, so that it is not an empty row.
    """
    found = published_results()
    for name, text in criteria.items():
        if name not in FIELDS:
            raise SynthDistillError(
                f"published results have no field {name!r}: choose by {', '.join(FIELDS)}."
            )
        found = found[[str(value or "").startswith(text) for value in found[name]]]
    if found.empty:
        wanted = ", ".join(f"{k} = {v!r}" for k, v in criteria.items())
        models = sorted(set(published_results()["model"]))
        raise SynthDistillError(
            f"no published result has {wanted}.{nearest(criteria.get('model', ''), models)} Known "
            f"models: {', '.join(models)}."
        )
    return found
