import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "time_evaluation.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("experiments_time_evaluation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_variant_is_measured_and_compared(script, tmp_path):
    script._prepare(tmp_path, 40, "lcnet_050")
    variants = ("bare", "bare-fast", "ours", "ours-files", "bob")
    found = {name: [script._measure(name, tmp_path, 40, 8)] for name in variants}
    for name in variants:
        assert found[name][0]["seconds"] > 0
        assert found[name][0]["memory"] > 2**26
    for name in ("ours", "bob"):
        parts = found[name][0]["parts"]
        assert sum(parts.values()) == pytest.approx(found[name][0]["seconds"])
        assert parts["decoding and embedding"] > 0
    found["ours"][0]["seconds"], found["bare"][0]["seconds"] = 3.0, 2.0
    table = script._table(found, 40, "lcnet_050")
    assert "| ours | 3.00 (3.00 - 3.00) | 1.50 |" in table
    assert "bob / ours:" in table
