#!/usr/bin/env python
"""Measure what a row of Bob's score file costs: bytes, and CPU time to make, join and read it."""

import json
import tempfile
import time
from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--probes", type=click.IntRange(2), default=40, show_default=True)
@click.option("--references", type=click.IntRange(1), default=500, show_default=True)
@click.option("--comparisons", type=int, default=15_658_489, help="To extrapolate to: IJB-C's.")
def time_scores(probes: int, references: int, comparisons: int) -> None:
    """Write PROBES x REFERENCES scores with Bob's own writer, read them, and extrapolate."""
    import numpy
    import pandas
    from bob.bio.base.pipelines.score_writers import CSVScoreWriter
    from bob.pipelines import Sample, SampleSet

    numbers = numpy.random.default_rng(0)
    rows = probes * references

    def person() -> dict[str, str]:
        return {
            "template_id": str(numbers.integers(23_124)),
            "subject_id": str(numbers.integers(3_531)),
        }

    enrolled = [person() for _ in range(references)]
    values = -numbers.random((probes, references))
    times = {"make": -time.process_time()}
    scored = [
        SampleSet(
            [Sample(float(v), **names) for v, names in zip(line, enrolled, strict=True)],
            **person(),
        )
        for line in values
    ]
    times["make"] += time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        writer = CSVScoreWriter(Path(folder) / "parts")
        half = probes // 2
        times["write"] = -time.process_time()
        parts = writer.write(scored[:half]) + writer.write(scored[half:])
        times["write"] += time.process_time()
        times["join"] = -time.process_time()
        writer.post_process(parts, path)
        times["join"] += time.process_time()
        size = path.stat().st_size
        times["read"] = -time.process_time()
        table = pandas.read_csv(path, dtype=str, keep_default_na=False)
        times["read"] += time.process_time()
        memory = int(table.memory_usage(deep=True).sum())
    per_row = {name: value / rows for name, value in times.items()}
    result = {
        "rows": rows,
        "bytes_per_row": size / rows,
        "cpu_microseconds_per_row": {k: 1e6 * v for k, v in per_row.items()},
        "memory_bytes_per_row_when_read": memory / rows,
        "extrapolated": {
            "comparisons": comparisons,
            "gigabytes": size / rows * comparisons / 1e9,
            "gigabytes_of_memory_when_read": memory / rows * comparisons / 1e9,
            "cpu_seconds": {k: v * comparisons for k, v in per_row.items()},
        },
    }
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    time_scores()
