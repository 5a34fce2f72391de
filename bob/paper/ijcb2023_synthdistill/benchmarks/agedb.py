"""AgeDB's list: the only one that is a MATLAB file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy

from ..files import SynthDistillError, reading
from .pair_lists import FOLDS, ListedPair, image_name

_SPLITS = """
import contextlib, json, resource, sys
from scipy.io import loadmat

with contextlib.suppress(ValueError):  # macOS has no such limit
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    found = loadmat(sys.argv[1], appendmat=False, squeeze_me=True, struct_as_record=False)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")

def plain(value):
    names = getattr(value, "_fieldnames", None)
    return value.tolist() if names is None else [getattr(value, name) for name in names]

print(json.dumps(found.get("splits"), default=plain))
"""


def _read_splits(path: Path) -> Any:
    """Read AgeDB's ``splits``, cells and structures as nested lists.

    In a process of its own: scipy believes what a damaged file claims, and has ended with a
    segmentation fault.
    """
    with reading(path, "AgeDB's protocol"):
        pass
    done = subprocess.run(  # noqa: S603
        # -P: nothing is imported from the working folder
        [sys.executable, "-P", "-c", _SPLITS, str(path)],
        capture_output=True,
        check=True,
        timeout=60,
        # each thread of OpenBLAS takes a part of the limit
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def _name(value: Any) -> str:
    """Read an image's name: text, or the first field of a structure."""
    return _name(value[0]) if isinstance(value, list) else value


def read_agedb(path: Path, pairs: int) -> list[ListedPair]:
    """Read AgeDB's ``04_FINAL_protocol_30_years.mat``: ten splits, labels +1 and -1.

    A split is a structure (or a cell) of the images, 2 x N, each given by its name or a structure
    that begins with it, and of N labels.
    """
    listed = []
    try:
        for fold, parts in enumerate(_read_splits(path)):
            (labels,) = (part for part in parts if not isinstance(part[0], str | list))
            (images,) = (part for part in parts if isinstance(part[0], list))
            sides = images if len(images) == 2 else zip(*images, strict=True)
            where = f"{path}, split {fold + 1}"
            for left, right, label in zip(*sides, labels, strict=True):
                if label not in (1, -1):
                    raise ValueError(f"the label {label} is neither +1 nor -1")
                names = [image_name(_name(side), where) for side in (left, right)]
                listed.append(ListedPair(names[0], names[1], label == 1, fold))
    except SynthDistillError:
        raise
    except Exception as error:  # a damaged file can fail anywhere
        said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip()
        raise SynthDistillError(
            f"{path} is not AgeDB's protocol, or it is damaged: "
            f"{(said or str(error)).split(chr(10))[-1][:200]!a}. Get the official file again."
        ) from error
    sizes = numpy.bincount([pair.fold for pair in listed], minlength=FOLDS).tolist()
    if sizes != [pairs // FOLDS] * FOLDS:
        raise SynthDistillError(
            f"{path} has splits of {sizes[:20]} pairs: {FOLDS} of {pairs // FOLDS:,} were expected."
        )
    return listed
