"""The benchmark suite runs: one tiny program through all its stages, tables, plots and checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import pytest

SUITE = Path(__file__).resolve().parent.parent / "benchmarks" / "suite"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of the suite, which is run as a program and is no package."""
    monkeypatch.syspath_prepend(str(SUITE))
    monkeypatch.delitem(sys.modules, "programs", raising=False)  # that of the tests
    kept = set(sys.modules)

    def by_name(name: str) -> ModuleType:
        __import__(name)
        return sys.modules[name]

    yield by_name
    for name in set(sys.modules) - kept:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SUITE)):
            del sys.modules[name]


def test_one_program_through_all_stages(tmp_path: Path) -> None:
    command = [sys.executable, str(SUITE), "--quick", "--rounds", "1", "--library", "none"]
    command += ["-p", "tutorial, hvp forward", "--out", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "tutorial, hvp forward" in done.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["environment"]["versions"]["jax"]
    rows = {(r["stage"], r["library"]): r for r in results["rows"]}
    stages = ("trace", "autodiff", "stage", "compile", "run")
    assert set(rows) == {(s, name) for s in stages for name in ("jax", "covector")}
    for stage in stages:
        theirs, ours = rows[stage, "jax"]["seconds"], rows[stage, "covector"]["seconds"]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        if stage != "autodiff":  # a difference of two times, which may be negative
            found = rows[stage, "covector"]["ratio"]
            assert 0.99 * min(ratios) <= found <= 1.01 * max(ratios)
    page = (tmp_path / "suite.html").read_text()
    assert "data:image/png;base64," in page
    shown = [sys.executable, str(SUITE), "--show", str(tmp_path / "results.json")]
    again = subprocess.run(shown, check=True, capture_output=True, text=True).stdout
    assert "tutorial, hvp forward" in again


def test_results_that_differ_are_no_results(load: Any) -> None:
    measure, libraries = load("measure"), load("libraries")
    jax = libraries.libraries(("none",))[0]
    x = jnp.arange(4.0)
    assert measure.disagreement(jax, [x], [x * (1 + 1e-5)], 1e-3) is None
    assert "differs" in measure.disagreement(jax, [x], [x + 0.1], 1e-3)
    assert "2 results in place of 1" in measure.disagreement(jax, [x, x], [x], 1e-3)


def test_runs_of_some_programs_are_joined(load: Any) -> None:
    results = load("results")
    here = {"machine": "m", "cores": 2, "versions": {"jax": "1"}}

    def run(left_out: Any, **ratios: float) -> Any:
        how = {"kind": "gradient", "stage": "stage", "library": "covector"}
        rows = [{"program": p, "ratio": r} | how for p, r in ratios.items()]
        return {"environment": here, "rounds": [7, 3], "rows": rows, "left out": left_out}

    runs = [run({"b": {"peer": "why"}}, a=0.5, b=0.5), run({}, b=0.25, c=0.5)]
    found = results.joined(runs)
    assert {r["program"]: r["ratio"] for r in found["rows"]} == {"a": 0.5, "b": 0.25, "c": 0.5}
    assert found["left out"] == {}
    assert found["summary"][0]["programs"] == 3
    runs[0]["environment"] = here | {"versions": {"jax": "2"}}
    with pytest.raises(ValueError, match="different versions"):
        results.joined(runs)


def test_means_are_geometric_and_the_worst_is_named(load: Any) -> None:
    results = load("results")
    rows = [
        {"program": p, "kind": "gradient", "stage": "stage", "library": "covector", "ratio": r}
        for p, r in (("a", 0.25), ("b", 1.0))
    ]
    (row,) = results.summary(rows, "covector", {("gradient", "stage"): (0.5, 0.7)})
    assert row["geometric mean"] == pytest.approx(0.5)
    assert (row["worst program"], row["worst"]) == ("b", 1.0)
