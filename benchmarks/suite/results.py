"""What was measured, as data: medians, ratios with their spread, geometric means, and where."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import statistics
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from measure import Times

Row = dict[str, Any]
Targets = dict[tuple[str, str], tuple[float, float]]

TARGETS: Targets = {
    ("gradient", "stage"): (0.5, 0.7),
    ("gradient", "autodiff"): (0.1, 0.2),
    ("higher", "stage"): (0.35, 0.5),
    ("all", "compile"): (0.9, 1.0),
    ("all", "run"): (0.97, 1.03),
    ("all", "dispatch"): (1.0, 1.05),
}
OUTLINED: Targets = {
    ("gradient", "compile"): (0.35, 0.35),
    ("gradient", "run"): (1.05, 1.05),
}
"""By kind of program and stage: the ratio to JAX that is aimed at, geometric mean and worst."""


def rows_of(program: str, kind: str, times: Times) -> list[Row]:
    """A row for each stage and library: seconds, and the ratios to JAX within the rounds."""
    rows = []
    for stage, by_library in times.items():
        for library, seconds in by_library.items():
            row: Row = {"program": program, "kind": kind, "stage": stage, "library": library}
            row |= {"seconds": list(map(rounded, seconds))}
            row |= {"median": rounded(statistics.median(seconds))}
            base = by_library.get("jax", [])
            if library != "jax" and base:
                pairs = zip(seconds, base, strict=True)
                ratios = sorted(a / b if b > 0 else math.nan for a, b in pairs)
                row |= {"ratio": rounded(statistics.median(ratios))}
                row |= {"spread": tuple(map(rounded, quartiles(ratios)))}
            rows.append(row)
    return rows


def rounded(number: float) -> float:
    """Four digits: more are noise."""
    return float(f"{number:.4g}")


def quartiles(values: list[float]) -> tuple[float, float]:
    """The first and third quartile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def summaries(rows: list[Row]) -> list[Row]:
    """What covector reaches, without options and with blocks compiled once."""
    return summary(rows, "covector", TARGETS) + summary(rows, "covector, compile-time", OUTLINED)


def summary(rows: list[Row], library: str, targets: Targets) -> list[Row]:
    """Geometric mean and worst case of the ratios of each kind and stage, beside what is aimed at.

    A difference of times that are lost in the noise may be negative; such ratios do not count.
    """
    found = []
    for (kind, stage), (mean_target, worst_target) in targets.items():
        chosen = [
            r
            for r in rows
            if r["library"] == library and r["stage"] == stage and kind in ("all", r["kind"])
        ]
        ratios = {r["program"]: r["ratio"] for r in chosen if r.get("ratio", 0) > 0}
        if not ratios:
            continue
        worst = max(ratios, key=lambda name: ratios[name])
        found.append(
            {
                "library": library, "kind": kind, "stage": stage, "programs": len(ratios),
                "geometric mean": math.exp(statistics.fmean(map(math.log, ratios.values()))),
                "worst": ratios[worst], "worst program": worst,
                "target mean": mean_target, "target worst": worst_target,
            }
        )  # fmt: skip
    return found


def joined(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The results of several runs of some programs each; of a program that was in two, those of the
    later run. Raises ValueError for runs on different machines, or of different versions."""
    first, last = runs[0]["environment"], runs[-1]["environment"]
    for run in runs:
        for what in ("machine", "cores", "versions"):
            if run["environment"][what] != first[what]:
                raise ValueError(f"runs with different {what} are no results of one suite")
    rows: dict[str, list[Row]] = {}
    left_out: dict[str, dict[str, str]] = {}
    for run in runs:
        of_run: dict[str, list[Row]] = {}
        for row in run["rows"]:
            of_run.setdefault(row["program"], []).append(row)
        rows |= of_run
        left_out |= {program: run["left out"].get(program, {}) for program in of_run}
    flat = [row for of_program in rows.values() for row in of_program]
    return {
        "environment": last, "rounds": runs[-1]["rounds"], "rows": flat,
        "left out": {program: why for program, why in left_out.items() if why},
        "summary": summaries(flat),
    }  # fmt: skip


def environment() -> dict[str, Any]:
    """When and where: date, machine, load, versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | _versions(),
    }


def where(environment: dict[str, Any]) -> str:
    """A line that says when and where something was measured."""
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    cores = f"{environment['cores']} cores"
    return f"{environment['date']}, {environment['machine']}, {cores}; {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def _versions() -> dict[str, str]:
    found = {}
    for package in ("covector", "jax", "jaxlib", "numpy", "equinox", "enzyme-ad"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))
