import time_evaluation


def test_every_variant_is_measured_and_compared(tmp_path):
    time_evaluation.prepare(tmp_path, 40, "lcnet_050")
    variants = ("bare", "bare-fast", "ours", "bob")
    found = {name: [time_evaluation.measure_once(name, tmp_path, 40)] for name in variants}
    assert all(one["seconds"] > 0 and one["memory"] > 2**26 for (one,) in found.values())
    found["ours"][0]["seconds"], found["bare"][0]["seconds"] = 3.0, 2.0
    assert "| ours | 3.00 (3.00 - 3.00) | 1.50 |" in time_evaluation.table(found)
