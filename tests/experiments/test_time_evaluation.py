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
    found[1]["seconds"], found[0]["seconds"] = 3.0, 2.0
    line = time_evaluation.table(found).splitlines()[3].split()
    assert line[:6] == ["ours", "3.00", "3.00", "3.00", "1.50", "1.00"]
