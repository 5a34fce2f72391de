import time_evaluation


def test_every_variant_is_measured_and_compared(tmp_path):
    time_evaluation.prepare(tmp_path, 40, "lcnet_050")
    found = [
        {"variant": name, **time_evaluation.measure_once(name, tmp_path, 40)}
        for name in time_evaluation.VARIANTS
    ]
    assert all(one["seconds"] > 0 and one["memory"] > 0.1 for one in found)
    for name in ("ours", "bob"):
        assert (tmp_path / name / "scores-dev.csv").read_text().count("\n") == 1 + 20
