"""Every planted wrong rule is caught by the check, and reduced to fewer than five equations."""

from __future__ import annotations

import time

import pytest
from planted import PLANTED, Plant

from covector.passes.pipeline import parse_pipeline
from covector.tools.checking import check_pipeline
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
