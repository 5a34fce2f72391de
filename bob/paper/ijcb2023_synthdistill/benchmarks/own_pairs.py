"""Pairs of one's own: a CSV file with any number of pairs, of each kind, in any folds."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..files import SynthDistillError
from .pair_lists import FOLDS, ListedPair, image_name, read_table

GENUINE = {
    **dict.fromkeys(("1", "true", "yes", "genuine", "same"), True),
    **dict.fromkeys(("0", "-1", "false", "no", "impostor", "different"), False),
}
"""What the column ``genuine`` may say, and what it means."""


def read_own(path: Path, pairs: int = 0) -> list[ListedPair]:  # noqa: ARG001 - any number
    """Read a list of one's own: CSV, columns ``left``, ``right``, ``genuine``, perhaps ``fold``.

    Images keep their ending where the list says it. A list without folds gives fold -1.
    """
    listed = []
    for row, where in read_table(path, ("left", "right", "genuine")):
        label, fold = row["genuine"].strip().lower(), row.get("fold", "-1").strip()
        if label not in GENUINE:
            raise SynthDistillError(
                f"{where}: `genuine` is {row['genuine'][:40]!a}: 1 or 0 was expected (or "
                f"{', '.join(word for word in GENUINE if word.isalpha())})."
            )
        if not re.fullmatch(r"\d{1,9}" if "fold" in row else "-1", fold):
            raise SynthDistillError(f"{where}: `fold` is {fold[:40]!a}: a number was expected.")
        left, right = (image_name(row[side], where, ending=True) for side in ("left", "right"))
        listed.append(ListedPair(left, right, GENUINE[label], int(fold)))
    return listed


def with_folds(listed: Sequence[ListedPair], path: Path) -> tuple[list[ListedPair], str]:
    """Put pairs without folds into some; say in words how many pairs and folds there are.

    Fold k takes the k-th part of the genuine pairs and the k-th part of the impostor pairs. There
    are ten folds, or as many as pairs of the rarer kind, but at least two.
    """
    numbers = Counter(pair.genuine for pair in listed)
    made = any(pair.fold < 0 for pair in listed)
    if made:
        folds = max(2, min(FOLDS, *numbers.values()))
        places = {kind: itertools.count() for kind in numbers}
        listed = [
            pair._replace(fold=next(places[pair.genuine]) * folds // numbers[pair.genuine])
            for pair in listed
        ]
    found = len({pair.fold for pair in listed})
    words = f"{numbers[True]:,} genuine and {numbers[False]:,} impostor, in {found} folds"
    if len(numbers) < 2 or found < 2:
        raise SynthDistillError(
            f"{path} lists {len(listed):,} pairs ({words}): some of each kind, in at least two "
            "folds, were expected."
        )
    return list(listed), words + (" made in their order" if made else "")
