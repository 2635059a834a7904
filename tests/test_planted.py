"""Every planted wrong rule is caught by the check, and reduced to fewer than five equations."""

from __future__ import annotations

import time

import pytest
from planted import PLANTED, Plant

from covector.passes.pipeline import parse_pipeline
from covector.tools.checking import check_pipeline
from covector.tools.jax_own import compare_with_jax
from covector.tools.reduce import Reducer
from covector.tools.symptoms import diagnose

EACH = pytest.mark.parametrize("plant", PLANTED, ids=[p.name.replace(" ", "-") for p in PLANTED])


def wrong_steps(plant: Plant) -> list[str]:
    reports = check_pipeline(parse_pipeline(plant.passes), plant.module)
    return [report.step.name for report in reports if not report.ok]


def test_there_are_enough() -> None:
    assert len(PLANTED) >= 20 and len({p.name for p in PLANTED}) == len(PLANTED)


@EACH
def test_a_wrong_rule_is_caught(plant: Plant) -> None:
    assert wrong_steps(plant) == []
    with plant.planted():
        found = wrong_steps(plant)
    transposed = plant.table == "transpose" and "," in plant.passes
    steps = [step.name for step in parse_pipeline(plant.passes)]
    assert found == [steps[1] if transposed else steps[0]]


BESIDE_JAX = [p for p in PLANTED if p.name in (
    "sign", "swapped operands", "inverse left out", "power not lowered", "half of a square",
    "dropped conjugate", "scan transposed forwards", "branches exchanged",
    "axis not moved for the batch", "merged in spite of other parameters",
)]  # fmt: skip


@pytest.mark.parametrize("plant", BESIDE_JAX, ids=[p.name.replace(" ", "-") for p in BESIDE_JAX])
def test_a_wrong_rule_differs_from_jax(plant: Plant) -> None:
    steps = parse_pipeline(plant.passes)

    def differing() -> list[str]:
        reports = list(check_pipeline(steps, plant.module, jax=compare_with_jax))
        assert all(report.jax for report in reports)
        return [r.step.name for r in reports if any(not f.ok for f in r.jax or ())]

    assert differing() == []
    with plant.planted():
        assert differing() == [steps[-1 if plant.table == "transpose" else 0].name]


@EACH
def test_a_wrong_rule_is_reduced_to_a_few_equations(plant: Plant) -> None:
    with plant.planted():
        passes = parse_pipeline(plant.passes)
        symptom = diagnose(passes, plant.module)
        assert symptom is not None
        reducer = Reducer(symptom, 1000, time.monotonic() + 60)
        small, left = reducer.run(plant.module)
        assert left.shows(small)
    size = sum(len(graph) for graph in small.all_graphs())
    assert size < 5, str(small)
    assert len(str(small).splitlines()) < 20
