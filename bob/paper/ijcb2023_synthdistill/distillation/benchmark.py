"""Time the training iteration, alone or alternating with the plain one, against its floor.

This process only directs: the iterations are done by processes of :py:mod:`.timing`, one for each
variant, which work in turns and wait meanwhile.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from ..files import SynthDistillError

PHASES = ("mapping", "synthesis", "crop", "teacher", "student forward", "backward", "optimizer")
"""The phases in the order of an iteration; its second step repeats all but the first."""


class Variant:
    """A process that does iterations of one variant when told to.

    Parameters
    ----------
    name
        Of the variant.
    settings
        Options of the training, and ``plain_allocator``.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.results: list[dict[str, Any]] = []
        started = time.perf_counter()
        # a file, not a pipe: nobody reads it while the process works
        self.messages = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", f"{__package__}.timing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            text=True,
        )
        self.about = self._ask(json.dumps(dict(settings)))
        self.start_seconds = time.perf_counter() - started

    def go(self) -> dict[str, Any]:
        """Do an iteration and give its times."""
        return self._ask("go")

    def ceilings(self) -> dict[str, float]:
        """Measure what the machine can do."""
        return self._ask("ceilings")

    def _ask(self, request: str) -> dict[str, Any]:
        assert self.process.stdin is not None  # noqa: S101
        assert self.process.stdout is not None  # noqa: S101
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SynthDistillError(self._explain())
        values = json.loads(answer)
        if "error" in values:
            raise SynthDistillError(f"the {self.name} variant: {values['error']}")
        return values

    def _explain(self) -> str:
        """Say why the process ended."""
        self.process.wait()
        self.messages.seek(0)
        lines = [line for line in self.messages.read().splitlines() if line.strip()]
        last = lines[-1].strip() if lines else "see above"
        code = self.process.returncode
        reason = f"it was killed by signal {-code}" if code < 0 else f"it exited with {code}"
        short = code in (-9, 137) or "memory" in last
        hint = " Memory may have run out: lower --batch-size." if short else ""
        return f"the {self.name} variant ended early: {reason} ({last}).{hint}"

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.messages.close()

    def summary(self) -> dict[str, Any]:
        """Give the medians over the iterations."""
        batch = self.about["images"]
        milliseconds = statistics.median(result["ms"] for result in self.results)
        phases = {
            name: statistics.median(result["phases"].get(name, 0.0) for result in self.results)
            for name in PHASES
        }
        return {
            "ms": milliseconds,
            "all_ms": [round(result["ms"], 1) for result in self.results],
            "images_per_second": 1e3 * batch / milliseconds,
            "phases_ms": phases,
            "peak_memory_mib": self.results[-1]["peak_memory_mib"],
            "start_seconds": self.start_seconds,
            "losses": self.results[0]["losses"],
        }


def run_benchmark(
    settings: Mapping[str, Any], iterations: int, warmup: int, compare: str | None
) -> dict[str, Any]:
    """Time iterations of the training.

    Parameters
    ----------
    settings
        Options of the training; generator and teacher may be missing (random weights).
    iterations
        How many are timed, of each variant.
    warmup
        How many are done before, of each variant.
    compare
        ``"plain"`` times the plain path as well, in turns with the fast one; or None.

    Returns
    -------
        Plain values: see :py:func:`format_table`.

    Raises
    ------
    SynthDistillError
        A variant cannot be run.
    """
    # the published code: its precision, and the C library's allocator as it is
    plain_settings = {
        **settings,
        "plain": True,
        "compile": False,
        "precision": "auto",
        "plain_allocator": True,
    }
    mine = "plain" if settings.get("plain") else "fast"
    variants: list[Variant] = []
    try:
        variants.append(Variant(mine, plain_settings if mine == "plain" else settings))
        if compare is not None:
            variants.append(Variant("plain", plain_settings))
        for _ in range(warmup):
            for variant in variants:
                variant.go()
        for index in range(iterations):
            # each goes first as often as the other: the order must not count
            for variant in variants if index % 2 == 0 else variants[::-1]:
                variant.results.append(variant.go())
        ceilings = variants[0].ceilings()
    finally:
        for variant in variants:
            variant.close()
    return _report(settings, variants, ceilings)


def _report(
    settings: Mapping[str, Any], variants: list[Variant], ceilings: dict[str, float]
) -> dict[str, Any]:
    """Put the results together."""
    from .floor import floor_ms

    mine = variants[0]
    half = settings["precision"] in ("bf16", "16")
    floor = floor_ms(mine.about["work"], ceilings, half)
    report: dict[str, Any] = {
        "variant": mine.name,
        "settings": {k: v if v is None else str(v) for k, v in settings.items()},
        "device": mine.about["device"],
        "threads": mine.about["threads"],
        "torch": mine.about["torch"],
        "iterations": len(mine.results),
        "images": mine.about["images"],
        **mine.summary(),
        "floor_ms": sum(floor.values()),
        "floor_phases_ms": floor,
        "work": mine.about["work"],
        "ceilings": ceilings,
    }
    report["over_floor"] = report["ms"] / report["floor_ms"]
    for other in variants[1:]:
        report[other.name] = other.summary()
        report["ratio"] = report[other.name]["ms"] / report["ms"]
    return report


def format_table(report: Mapping[str, Any]) -> str:
    """Lay a report of :py:func:`run_benchmark` out as a table.

    Returns
    -------
        Lines of text: for each phase its time in ms, its share, images/s if it were alone, its
        floor and the ratio over it.
    """
    settings = report["settings"]
    plain = report.get("plain")
    head = ["phase", "ms", "share %", "images/s", "floor ms", "over floor"]
    head += ["plain ms", "ratio"] if plain else []
    rows = []
    phases = dict(report["phases_ms"])
    phases["the rest"] = max(report["ms"] - sum(phases.values()), 0.0)
    phases["iteration"] = report["ms"]
    for name, milliseconds in phases.items():
        floor = report["floor_ms"] if name == "iteration" else report["floor_phases_ms"].get(name)
        row = [
            name,
            f"{milliseconds:.1f}",
            f"{100 * milliseconds / report['ms']:.1f}",
            f"{1e3 * report['images'] / milliseconds:.2f}" if milliseconds else "",
            f"{floor:.1f}" if floor is not None else "",
            f"{milliseconds / floor:.2f}" if floor else "",
        ]
        if plain:
            other = plain["ms"] if name == "iteration" else plain["phases_ms"].get(name)
            row += [f"{other:.1f}", f"{other / milliseconds:.2f}"] if other else ["", ""]
        rows.append(row)
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        f"{report['device']}, {report['threads']} threads, torch {report['torch']}",
        f"{report['variant']}, precision {settings['precision']}, batch {settings['batch_size']}, "
        f"student {settings['student']}, generator {settings['generator'] or 'random'}, "
        f"teacher {settings['teacher'] or 'random'}; medians of {report['iterations']} iterations",
        "",
    ]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    ceilings = report["ceilings"]
    lines += [
        "",
        f"{report['images_per_second']:.2f} images/s (fresh and re-sampled), peak memory "
        f"{report['peak_memory_mib']:,.0f} MiB"
        + (f" (plain {plain['peak_memory_mib']:,.0f} MiB)" if plain else "")
        + f", started in {report['start_seconds']:.1f} s",
        f"ceilings: {ceilings['float32'] / 1e9:,.0f} GFLOP/s float32, "
        f"{ceilings['bfloat16'] / 1e9:,.0f} GFLOP/s bfloat16, "
        f"{ceilings['bytes'] / 1e9:,.1f} GB/s",
    ]
    if "ratio" in report:
        lines.append(f"{report['ratio']:.2f} times as fast as the plain path, in turns")
    return "\n".join(lines)
