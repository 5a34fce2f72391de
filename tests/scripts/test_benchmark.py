"""``synthdistill-benchmark`` with networks of a few channels."""

import json
import time

import pytest
from click.testing import CliRunner

from bob.paper.ijcb2023_synthdistill.distillation.benchmark import PHASES, format_table
from bob.paper.ijcb2023_synthdistill.scripts.benchmark import benchmark


def run(*arguments):
    return CliRunner().invoke(benchmark, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def report(micro_generator, small_teacher):
    result = run(
        *("--generator", micro_generator, "--teacher", small_teacher),
        *("--student", "test_efficientnet", "--batch-size", 2, "--device", "cpu"),
        *("--iterations", 2, "--compare", "plain", "--json"),
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_phases_make_up_the_iteration(report):
    for variant in (report, report["plain"]):
        assert set(variant["phases_ms"]) == set(PHASES)
        assert all(value > 0 for value in variant["phases_ms"].values())
        assert sum(variant["phases_ms"].values()) < 1.05 * variant["ms"]
        assert variant["peak_memory_mib"] > 50
        assert len(variant["all_ms"]) == 2
    assert report["images"] == 4
    assert report["images_per_second"] == pytest.approx(4e3 / report["ms"])
    assert report["ratio"] == pytest.approx(report["plain"]["ms"] / report["ms"])
    assert report["over_floor"] == pytest.approx(report["ms"] / report["floor_ms"])


def test_both_variants_do_the_same_iterations(report):
    assert report["losses"] == pytest.approx(report["plain"]["losses"], rel=1e-3)


def test_the_table_shows_every_phase_and_the_ratio(report):
    table = format_table(report)
    lines = table.splitlines()
    for phase in (*PHASES, "iteration"):
        assert sum(line.startswith(phase + " ") for line in lines) == 1
    assert f"{report['ratio']:.2f} times as fast as the plain path" in table
    assert "peak memory" in table


def test_mistakes_are_told_before_anything_is_timed(tmp_path):
    started = time.monotonic()
    result = run("--generator", tmp_path / "none.pkl")
    assert result.exit_code == 1
    assert "does not exist" in result.output
    result = run("--precision", "half")
    assert "precision" in result.output
    assert "Traceback" not in result.output
    assert time.monotonic() - started < 60


def test_a_variant_that_cannot_be_built_says_why(tmp_path, small_teacher):
    broken = tmp_path / "broken.pkl"
    broken.write_bytes(b"\x80\x04 nothing")
    result = run(
        *("--generator", broken, "--teacher", small_teacher, "--device", "cpu"),
        *("--student", "test_efficientnet", "--batch-size", 2, "--warmup", 0),
    )
    assert result.exit_code == 1
    assert "the fast variant" in result.output
    assert "broken.pkl" in result.output
