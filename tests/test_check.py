"""`covector check`, `bisect` and `reduce`: right passes pass, wrong ones are found and cornered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wrong_passes import WRONG

import covector
from covector.ir.interpret import evaluate
from covector.ir.module import Module
from covector.passes import PASSES
from covector.passes.pipeline import parse_pipeline
from covector.tools import cli
from covector.tools.checking import Report, check_pipeline
from covector.tools.culprit import find_culprit
from covector.tools.data import finite_inputs
from covector.tools.laws import LAWS
from covector.tools.nonfinite import nan_source
from covector.tools.reduce import Reducer
from covector.tools.symptoms import Failure, NotANumber, Predicate, WrongNumbers, diagnose

# Every primitive that the wrong passes get wrong stands between others that they get right.
PROGRAM = """module @main {
  func @f(x: f32[4], w: f32[3,4], n: i32[]) -> (f32[]) {
    a: f32[3] = dot_general[dimension_numbers=(((1,), (0,)), ((), ()))] w x    // m.py:2:4
    b: f32[3] = tanh a                                                         // m.py:3:4
    c: f32[3] = sin b                                                          // m.py:4:4
    d: f32[3] = neg c                                                          // m.py:5:4
    e: f32[3] = sub d b                                                        // m.py:6:4
    g: f32[3] = mul e e                                                        // m.py:7:4
    s: f32[] = reduce_sum[axes=(0,)] g                                         // m.py:8:4
    k: i32[] = add n 1:i32[]
    r: f32[] = convert_element_type[new_dtype=f32] k
    y: f32[] = mul s r
    return y
  }
}
"""
SCAN = """module @main {
  func @f(x: f32[2]) -> (f32[2]) {
    y: f32[2] = scan[graph=@body, num_carry=1, length=3] x
    z: f32[2] = exp y
    return z
  }

  func private @body(c: f32[2]) -> (f32[2]) {
    a: f32[2] = tanh c
    b: f32[2] = sin a         // m.py:9:2
    return b
  }
}
"""
NAN = """module @main {
  func @f(x: f32[3]) -> (f32[]) {
    z: f32[3] = mul x 0.0:f32[]          // m.py:2:4
    s: f32[3] = sqrt z                   // m.py:3:4
    c: bool[3] = gt x 0.0:f32[]          // m.py:4:4
    w: f32[3] = select_n c x s           // m.py:5:4
    y: f32[] = reduce_sum[axes=(0,)] w   // m.py:6:4
    return y
  }
}
"""


@pytest.fixture(autouse=True)
def wrong_passes_are_known() -> Iterator[None]:
    PASSES.update(WRONG)
    yield
    for name in WRONG:
        PASSES.pop(name, None)


for name in WRONG:
    PASSES.pop(name, None)


@pytest.fixture
def module() -> Module:
    return covector.parse(PROGRAM)


def reports(module: Module, passes: str, **options: Any) -> list[Report]:
    return list(check_pipeline(parse_pipeline(passes), module, **options))


# -- check ---------------------------------------------------------------------------------------


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


# -- bisect --------------------------------------------------------------------------------------


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


# -- reduce --------------------------------------------------------------------------------------


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


# -- the command line ------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("f.cvir").write_text(PROGRAM)
    Path("nan.cvir").write_text(NAN)

    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(arguments)
        return int(exit_.value.code or 0), *capsys.readouterr()

    return command


def test_check_command(run: Command) -> None:
    status, out, err = run("check", "f.cvir", "--passes", "grad,clean")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == ["pass", "output", "law", "xla"]
    assert "@f.grad ct_x: f32[4]" in out and "wrong" not in out
    status, out, err = run("check", "f.cvir", "--passes", "grad,wrong-fold", "--no-xla", "--json")
    rows = json.loads(out)
    assert status == 1 and {row["verdict"] for row in rows} == {"ok", "wrong"}
    assert err == "which equation is it? covector bisect f.cvir --passes 'grad,wrong-fold'\n"


def test_jax_own_results_are_a_column(run: Command) -> None:
    status, out, _ = run("check", "f.cvir", "--passes", "jvp", "--no-xla", "--jax")
    assert status == 0 and out.splitlines()[0].split() == ["pass", "output", "law", "jax"]
    status, out, _ = run("bisect", "f.cvir", "--passes", "wrong-jvp", "--no-xla", "--jax")
    assert status == 1 and "JAX's own against this" in out and "sin b    // m.py:4:4" in out


def test_check_needs_passes(run: Command) -> None:
    assert run("check", "f.cvir") == (0, "nothing to check: give --passes\n", "")


def test_bisect_command(run: Command) -> None:
    arguments = ("bisect", "f.cvir", "--passes", "cse,wrong-jvp,dce", "--no-xla")
    status, out, _ = run(*arguments, "-o", "small.cvir")
    assert status == 1
    assert out.startswith("pass 2 of 3 is the first to go wrong: wrong-jvp\n  @f.jvp dy: f32[]")
    assert "equation 3 of @f is the first, also by itself:\n    c: f32[3] = sin b    // m.p" in out
    assert [e.primitive.name for e in covector.load("small.cvir").main.equations] == ["sin"]
    data = json.loads(run(*arguments, "--json")[1])
    assert data["pass"] == "wrong-jvp" and data["culprit"]["location"] == "m.py:4:4"
    made = covector.parse(data["culprit"]["becomes"])  # d sin = sin, to be seen in four lines
    assert [e.primitive.name for e in made.main.equations] == ["sin", "sin", "mul"]
    assert out.endswith(f"of which the pass makes:\n{made}")
    assert run("bisect", "f.cvir", "--passes", "jvp,clean")[:2] == (0, "nothing is wrong\n")


def test_bisect_a_crash(run: Command) -> None:
    status, out, _ = run("bisect", "f.cvir", "--passes", "cse,crash-on-tanh")
    assert status == 1 and "PassError: crash-on-tanh failed with KeyError: 'b'" in out
    assert "b: f32[3] = tanh a" in out and "also by itself" in out and "makes" not in out


def test_bisect_by_a_command(run: Command) -> None:
    command = (
        f"{sys.executable} -c \"import sys; sys.exit(open(sys.argv[1]).read().count('cos') < 1)\""
    )
    status, out, _ = run("bisect", "f.cvir", "--passes", "cse,jvp,dce", "--predicate", command)
    assert status == 1 and out.startswith("pass 2 of 3 is the first to go wrong: jvp")
    assert "c: f32[3] = sin b" in out
    shell = ("--predicate", "sh -c 'grep -q cos %s'")  # the file's name inside of a word
    status, again, _ = run("bisect", "f.cvir", "--passes", "cse,jvp,dce", *shell)
    assert status == 1 and again.splitlines()[2:] == out.splitlines()[2:]
    status, _, err = run("bisect", "f.cvir", "--passes", "cse", "--predicate", "true")
    assert status == 2 and "holds for the program as it is" in err


def test_bisect_nan_command(run: Command) -> None:
    status, out, _ = run("bisect", "nan.cvir", "--passes", "grad", "--nan")
    assert status == 1 and out.startswith("after pass grad:\nNaN is first made in @f.grad:")
    data = json.loads(run("bisect", "nan.cvir", "--passes", "grad", "--nan", "--json")[1])
    assert data["location"] == "m.py:3:4" and data["cause"]["what"] == "infinity"
    assert run("bisect", "f.cvir", "--passes", "grad", "--nan")[0] == 0


SCALED_NORM = """func @f(x: f32[3], k: f32[3]) -> (f32[]) {
  a: f32[3] = mul x k
  b: f32[3] = mul a a
  c: f32[] = reduce_sum[axes=(0,)] b
  d: f32[] = sqrt c
  e: f32[3] = add d k
  f: f32[] = reduce_sum[axes=(0,)] e
  return f
}
"""


def test_inputs_filled_with_numbers(run: Command) -> None:
    Path("norm.cvir").write_text(SCALED_NORM)
    norm = ("norm.cvir", "--passes", "grad,clean")
    assert run("reduce", *norm, "--symptom", "nan")[0] == 2  # not on random inputs
    status, out, _ = run("reduce", *norm, "--symptom", "nan", "--at", "x=0")
    assert status == 0 and len(covector.parse(out).main) < 5
    assert run("bisect", *norm, "--nan")[0] == 0
    status, out, _ = run("bisect", *norm, "--nan", "--at", "x=0")
    assert status == 1 and "NaN is first made in @f.grad" in out
    assert run("check", *norm, "--no-xla")[0] == 0
    assert run("check", *norm, "--no-xla", "--at", "k=0")[0] == 1
    assert "has no input 'z'" in run("check", *norm, "--at", "z=0")[2]


def test_every_law_is_known() -> None:
    ours = [cls for cls in PASSES.values() if cls.__module__.startswith("covector.")]
    assert len(ours) > 10 and {cls.law for cls in ours} == set(LAWS)


def test_reduce_command(run: Command) -> None:
    arguments = ("reduce", "f.cvir", "--passes", "grad,wrong-fold")
    status, out, err = run(*arguments)
    assert status == 0 and len(covector.parse(out).main) == 1
    assert "with: wrong numbers" in err and "under --passes 'wrong-fold'" in err
    data = json.loads(run(*arguments, "--json")[1])
    assert data["equations"] == [10, 1] and covector.parse(data["program"])
    status, _, err = run("reduce", "f.cvir", "--passes", "grad")
    assert status == 2 and "there is nothing to reduce for" in err
    status, _, err = run("reduce", "f.cvir", "--predicate", "no-such-command")
    assert status == 2 and "cannot run no-such-command" in err
