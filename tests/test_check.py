"""Checking passes, finding the culprit, and reducing what fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from check_helpers import NAN, PROGRAM, SCAN, wrong_passes
from wrong_passes import WRONG

import covector
from covector.ir.interpret import evaluate
from covector.ir.module import Module
from covector.passes import PASSES
from covector.passes.pipeline import parse_pipeline
from covector.tools.checking import Report, check_pipeline
from covector.tools.culprit import find_culprit
from covector.tools.data import finite_inputs
from covector.tools.nonfinite import nan_source
from covector.tools.reduce import Reducer
from covector.tools.symptoms import Failure, NotANumber, Predicate, WrongNumbers, diagnose


@pytest.fixture(autouse=True)
def wrong_passes_are_known() -> Iterator[None]:
    with wrong_passes():
        yield


@pytest.fixture
def module() -> Module:
    return covector.parse(PROGRAM)


def reports(module: Module, passes: str, **options: Any) -> list[Report]:
    return list(check_pipeline(parse_pipeline(passes), module, **options))


# -- check -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "passes",
    [
        "jvp,clean", "jvp{wrt=w},fold", "linearize,transpose,clean", "linearize{wrt=0},batch",
        "vjp,cse", "grad,clean", "grad{wrt=x value},inline", "batch{size=3 in_axes=0,None,0},dce",
        "grad,jvp,batch", "vjp,vjp",
    ],
)  # fmt: skip
def test_right_passes_pass(module: Module, passes: str) -> None:
    for report in reports(module, passes):
        assert report.law and report.ok, [(report.label(f), f.error) for f in report.failures()]


def test_loops_pass() -> None:
    for report in reports(covector.parse(SCAN), "linearize,transpose,clean"):
        assert report.law and report.ok


@pytest.mark.parametrize(
    ("passes", "wrong"),
    [
        ("wrong-jvp", "wrong-jvp"),
        ("cse,wrong-linearize,transpose", "wrong-linearize"),
        ("linearize,wrong-transpose,dce", "wrong-transpose"),
        ("wrong-vjp", "wrong-vjp"),
        ("wrong-grad", "wrong-grad"),
        ("jvp,wrong-batch", "wrong-batch"),
        ("wrong-fold,grad", "wrong-fold"),
    ],
)
def test_wrong_passes_fail(module: Module, passes: str, wrong: str) -> None:
    failed = [report.step.name for report in reports(module, passes) if not report.ok]
    assert failed == [wrong]


def test_xla_is_compared_with_numpy(module: Module) -> None:
    def run(graph: Any, arrays: Any) -> Any:
        return [np.asarray(y) * np.float32(1.01) for y in evaluate(graph, arrays)]

    (right,) = reports(module, "cse", xla=evaluate)
    assert right.xla and right.ok
    (wrong,) = reports(module, "cse", xla=run)
    assert wrong.law and not wrong.ok
    assert [f.error > f.tolerance for f in wrong.xla or ()] == [True]


def test_xla_may_round_as_numpy_does() -> None:
    text = """func @f(x: f32[4], y: f32[4]) -> (f32[4]) {
      a: f32[4] = add x 1000.0:f32[]
      b: f32[4] = mul a a
      c: f32[4] = sub b 1000000.0:f32[]
      d: f32[4] = mul c y
      return d
    }"""

    def fused(graph: Any, arrays: Any) -> Any:
        x, y = (np.asarray(a, np.float64) for a in arrays)
        return [(((x + 1000) ** 2 - 1e6) * y).astype(np.float32)]

    def wrong(graph: Any, arrays: Any) -> Any:
        return [fused(graph, arrays)[0] * np.float32(1.1)]

    x = np.full(4, 1e-3, np.float32)
    module, arrays = covector.parse(text), [x, np.ones(4, np.float32)]
    (report,) = reports(module, "cse", arrays=arrays, xla=fused)
    (finding,) = report.xla or ()
    assert report.ok and 1e-3 < finding.error < finding.tolerance
    (report,) = reports(module, "cse", arrays=[x * 1000, arrays[1]], xla=wrong)
    assert not report.ok


def test_users_rules_are_not_held_against_a_pass() -> None:
    text = PROGRAM.replace("d: f32[3] = neg c ", "d: f32[3] = stop_gradient c")
    (report,) = reports(covector.parse(text), "grad")
    assert report.own_rules == {"stop_gradient"} and report.ok
    assert any(not f.ok for f in report.law or ())


def test_a_law_that_nobody_knows_is_said_so(module: Module) -> None:
    (report,) = reports(module, "mute")
    assert report.law is None and report.notes == ("the law is not known here: all is well",)


# -- bisect ----------------------------------------------------------------------------------------


def culprit_of(module: Module, passes: str) -> Any:
    arrays = finite_inputs(module.main, 0, evaluate)
    return find_culprit(WrongNumbers(parse_pipeline(passes)), module, arrays)


@pytest.mark.parametrize(
    ("passes", "primitive"),
    [
        ("wrong-jvp", "sin"),
        ("wrong-linearize", "sin"),
        ("wrong-vjp", "sin"),
        ("wrong-grad", "sin"),
        ("wrong-batch", "sin"),
        ("wrong-fold", "sub"),
    ],
)
def test_the_equation_is_found(module: Module, passes: str, primitive: str) -> None:
    culprit = culprit_of(module, passes)
    assert culprit.equation.primitive.name == primitive and culprit.alone
    assert len(culprit.module.main) <= 4
    assert WrongNumbers(parse_pipeline(passes)).shows(culprit.module)


def test_the_equation_of_a_linear_half_is_found(module: Module) -> None:
    linear = covector.run_passes(module, "linearize")
    culprit = culprit_of(linear, "wrong-transpose")
    assert culprit.equation.primitive.name == "neg" and culprit.path == ("@f.linear",)


def test_the_equation_in_a_loop_is_found() -> None:
    class InRegions(WRONG["wrong-jvp"]):  # type: ignore[misc]
        name = "wrong-in-regions"

        def run(self, module: Module) -> Module:
            from wrong_passes import swapped

            if "scan" not in module.stats()["primitives"]:
                return swapped(super().run(module), "cos", "sin")
            text = str(super().run(module)).replace("= cos ", "= sin ")
            return covector.parse(text)

    PASSES.pop("wrong-in-regions")
    module = covector.parse(SCAN)
    arrays = finite_inputs(module.main, 0, evaluate)
    culprit = find_culprit(WrongNumbers((InRegions(),)), module, arrays)
    assert culprit is not None and culprit.equation.primitive.name == "sin"
    assert culprit.path == ("@f", "@body (step 0 of 3)")
    assert str(culprit.equation.location) == "m.py:9:2"


def test_nothing_is_found_in_what_is_right(module: Module) -> None:
    assert culprit_of(module, "jvp") is None


def test_where_a_nan_comes_from() -> None:
    module = covector.run_passes(covector.parse(NAN), "grad")
    x = np.array([1, 2, -1], np.float32)
    assert nan_source(covector.parse(NAN).main, [x]) is None
    origin = nan_source(module.main, [x])
    assert origin is not None and origin.what == "NaN"
    assert str(origin.equation.location) == "m.py:3:4" and origin.equation.primitive.name == "mul"
    assert origin.cause is not None and origin.cause.equation.primitive.name == "div"
    text = origin.describe()
    assert "NaN is first made in @f.grad:" in text and "infinity is first made" in text
    assert "s: f32[3] = 0.0 at [0], all 0" in text


def test_where_a_nan_comes_from_in_a_loop() -> None:
    module = covector.parse(SCAN.replace("= tanh c", "= sub c 1.0:f32[]").replace("sin a", "log a"))
    origin = nan_source(module.main, [np.array([3.5, 3.5], np.float32)])
    assert origin is not None and origin.path == ("@f", "@body (step 1 of 3)")


# -- reduce ----------------------------------------------------------------------------------------


def reduced(module: Module, symptom: Any) -> tuple[Module, Any]:
    small, left = Reducer(symptom, max_tests=500, deadline=float("inf")).run(module)
    small.verify()
    assert left.shows(small)
    return small, left


def test_reduce_wrong_numbers(module: Module) -> None:
    symptom = diagnose(parse_pipeline("grad,wrong-fold,dce"), module)
    assert isinstance(symptom, WrongNumbers)
    small, left = reduced(module, symptom)
    assert [e.primitive.name for e in small.main.equations] == ["sub"]
    assert [step.name for step in left.passes] == ["wrong-fold"]


def test_reduce_a_crash(module: Module) -> None:
    symptom = diagnose(parse_pipeline("cse,crash-on-tanh"), module)
    assert isinstance(symptom, Failure) and "KeyError" in symptom.claim
    small, _ = reduced(module, symptom)
    assert [e.primitive.name for e in small.main.equations] == ["tanh"]
    assert small.main.input_types[0].shape == (1,)


def test_reduce_a_verifier_error(module: Module) -> None:
    broken = covector.parse(PROGRAM.replace("d: f32[3] = neg", "d: f32[4] = neg"), verify=False)
    symptom = diagnose((), broken)
    assert isinstance(symptom, Failure) and symptom.kind == "VerifyError"
    small, _ = Reducer(symptom, 500, float("inf")).run(broken)
    assert symptom.shows(small) and len(small.main) <= 3


def test_reduce_nan() -> None:
    module = covector.parse(NAN)
    symptom = diagnose(parse_pipeline("grad"), module)
    assert isinstance(symptom, NotANumber)
    small, _ = reduced(module, symptom)
    assert len(small.main) < len(module.main)


def test_reduce_by_a_command(module: Module) -> None:
    small, _ = reduced(module, Predicate('grep -q "= tanh" %s'))
    assert [e.primitive.name for e in small.main.equations] == ["tanh"]
    assert small.main.equations[0].location is None


def test_reduce_inside_a_loop() -> None:
    small, _ = reduced(covector.parse(SCAN), Predicate('grep -q "sin"'))
    assert small.stats()["equations"] <= 2


def test_reduce_stops_in_time(module: Module) -> None:
    reducer = Reducer(Predicate("true"), max_tests=3, deadline=float("inf"))
    reducer.run(module)
    assert reducer.tests == 3
