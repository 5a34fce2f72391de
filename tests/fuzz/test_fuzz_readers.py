"""Every reader of strangers' bytes meets damaged files: an error in words, or success.

For each reader some seconds of mutated valid files: ``SYNTHDISTILL_FUZZ_SECONDS=600`` makes them
more. Numbers of inputs are printed with ``pytest -s``.
"""

import os
import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bob.paper.ijcb2023_synthdistill.files import SynthDistillError

from .guards import asked_for_memory, limited, watched
from .mutations import mutations
from .readers import NAMES, READERS

SECONDS = float(os.environ.get("SYNTHDISTILL_FUZZ_SECONDS", "1.5"))

LEAST = 20
"""Files for each reader, however slow the machine."""


def read(reader, path):
    """Give what becomes of a file: read, refused in words, or what must not be."""
    try:
        reader(path)
    except SynthDistillError as error:
        refusal = error
    else:
        return "read"
    assert not asked_for_memory(refusal), f"asked for much memory: {refusal.message}"
    assert refusal.message
    return "refused"


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_words(name, tmp_path):
    make, damages = READERS[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / NAMES.get(name, "file")
    reader = make(path)
    valid = path.read_bytes()
    files = sorted(folder.iterdir())
    assert read(reader, path) == "read"
    # first refusals, unwatched: they may import modules
    for content in (valid[: len(valid) // 2], b"\0" + valid[1:], valid[::-1], b""):
        path.write_bytes(content)
        with limited():
            read(reader, path)
    counts = {"read": 0, "refused": 0}
    end = time.monotonic() + SECONDS

    def attempt(damage, changes):
        if time.monotonic() > end and sum(counts.values()) >= LEAST:
            return
        path.write_bytes(damage(valid, changes))
        with watched() as seen, limited():
            counts[read(reader, path)] += 1
        assert not seen

    number = 0
    while time.monotonic() < end or sum(counts.values()) < LEAST:
        checks = settings(
            max_examples=100,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(checks(given(st.sampled_from(damages), mutations())(attempt)))()
        number += 1
    sys.stdout.write(f"{name}: {counts['read']} read, {counts['refused']} refused\n")
    assert counts["refused"]
    assert sorted(folder.iterdir()) == files
