"""`covector why-nan`: where NaN and infinity begin, forward and backward, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nan_programs
import numpy as np
import pytest

import covector
from covector.tools import cli
from covector.tools.diagnosis import Diagnosis, diagnose_numbers

FILE = Path(nan_programs.__file__)
LINES = FILE.read_text().splitlines()
REMEDIED = ("log1pexp", "ratio", "masked_softmax", "norm", "safe_log")


def diagnosis_of(name: str) -> Diagnosis:
    arguments = nan_programs.example_args()[name]
    module = covector.make_ir(getattr(nan_programs, name))(*arguments)
    return diagnose_numbers(module.main, [np.asarray(x) for x in arguments])


def line_of(source: Any) -> str:
    return LINES[source.equation.location.line - 1].strip()


@pytest.mark.parametrize(
    ("name", "direction", "what", "line", "primal", "pattern"),
    [
        ("log1pexp", "forward", "infinity", "return jnp.log(1.0 + jnp.exp(x))", "exp", "overflow"),
        ("log1pexp", "backward", "NaN", "return jnp.log(1.0 + jnp.exp(x))", "exp", "overflow"),
        ("ratio", "backward", "NaN", "return x / (1 + jnp.sqrt(x))", "sqrt", "sqrt at 0"),
        ("masked_softmax", "forward", "NaN", "p = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf),"
         " axis=-1)", "sub", "masked softmax"),
        ("norm", "backward", "NaN", "return jnp.linalg.norm(x)", "mul", "norm at 0"),
        ("safe_log", "backward", "NaN", "return jnp.sum(jnp.where(x > 0, jnp.log(x), 0.0))", "log",
         "where"),
        ("looped", "backward", "NaN", "y = jnp.where(a > 0, jnp.sqrt(a * c), 0.0)", "sqrt",
         "where"),
    ],
)  # fmt: skip
def test_the_equation_is_named(
    name: str, direction: str, what: str, line: str, primal: str, pattern: str
) -> None:
    (found,) = [f for f in diagnosis_of(name).findings if f.direction == direction]
    assert found.what == what and found.source is not None and found.advice is not None
    assert line_of(found.source) == line
    origin = found.source.equation
    while origin.origin is not None:
        origin = origin.origin.equation
    assert origin.primitive.name == primal
    assert found.advice.pattern == pattern


@pytest.mark.parametrize("name", REMEDIED)
def test_the_remedies_help(name: str) -> None:
    assert diagnosis_of(name).findings
    assert not diagnosis_of(f"{name}_remedied").findings
    arguments = nan_programs.example_args()[name]

    def is_finite(function: Callable[..., Any]) -> bool:
        return all(bool(jnp.isfinite(x).all()) for x in jax.value_and_grad(function)(*arguments))

    assert not is_finite(getattr(nan_programs, name))
    assert is_finite(getattr(nan_programs, f"{name}_remedied"))


def test_what_a_where_leaves_out_is_no_fault() -> None:
    assert not diagnosis_of("harmless").findings


def test_the_path_of_the_cotangent() -> None:
    (found,) = diagnosis_of("safe_log").findings
    names = [step.equation.primitive.name for step in found.path.steps]
    assert names == ["reduce_sum", "select_n", "log"]
    assert [step.cotangent for step in found.path.steps][-1] == "from 0 to 1, 1 zeros"
    (found,) = diagnosis_of("looped").findings
    names = [step.equation.primitive.name for step in found.path.steps]
    assert names == ["scan", "select_n", "sqrt"]
    assert found.source is not None and found.source.path[-1].endswith("(step 1 of 3)")
    assert found.source.cause is not None
    assert found.source.cause.path[-1] == "@step.jvp.known (step 1 of 3)"


def test_the_element_is_named() -> None:
    (found,) = diagnosis_of("safe_log").findings
    assert found.source is not None and found.source.element == (1,)
    assert [shown for _, shown in found.source.operands()][-1] == (
        "= 0.0 at [1], from 0 to 2, 1 zeros"
    )


def test_given_nan_is_nobodys() -> None:
    module = covector.make_ir(nan_programs.norm)(jnp.ones(3))
    diagnosis = diagnose_numbers(module.main, [np.array([1, np.nan, 2], np.float32)])
    (found,) = diagnosis.findings
    assert found.source is None and "NaN is among the inputs: x" in diagnosis.describe()


@pytest.mark.parametrize(
    ("function", "x", "pattern"),
    [
        (jnp.log, -1.0, "log of -1"),
        (jnp.arccos, 1.0, "acos at 1"),
        (jnp.arcsin, 1.5, "asin of 1.5"),
        (lambda x: x / (x - 1), 1.0, "division by 0"),
        (lambda x: jnp.exp(x) / (1 + jnp.exp(x)), 100.0, "overflow"),
        (lambda x: x**0.5, 0.0, "pow"),
        (lambda x: jnp.arctan2(x, 0 * x), 0.0, "atan2 at 0"),
        (lambda x: x * 1e30 * x * 1e30, 1.0, "overflow"),
        (lambda x: jnp.sqrt(x) * 2, -2.0, "sqrt of -2"),
    ],
)
def test_what_is_known(function: Callable[..., Any], x: float, pattern: str) -> None:
    module = covector.make_ir(function)(x)
    findings = diagnose_numbers(module.main, [x]).findings
    assert findings and findings[0].advice is not None
    assert findings[0].advice.pattern == pattern


@pytest.mark.parametrize(
    ("function", "x", "remedy"),
    [
        (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), -1.0, "jnp.sqrt(x_safe)"),
        (lambda x: jnp.where(x > 0, 3 * jnp.sqrt(x) + 1, 0.0), -1.0, "jnp.sqrt(x_safe)"),
        (lambda x: jnp.where(x > 0, x**0.5, 0.0), -1.0, "x_safe ** 0.5"),
        (lambda x: jnp.where(abs(x) < 1, jnp.arcsin(x), 0.0), 2.0, "jnp.arcsin(x_safe)"),
        (lambda x: jnp.where(x != 0, 2.0 / x, 0.0), 0.0, "2.0 / x_safe"),
        (lambda x: jnp.where(x != 0, x / x, 0.0), 0.0, "x / x_safe"),
        (lambda x: jax.lax.scan(
            lambda c, r: (c + jnp.where(r > 0, jnp.sqrt(r), 0.0), None), 0.0, x[None])[0],
         -1.0, "jnp.sqrt(r_safe)"),
    ],
)  # fmt: skip
def test_what_a_where_leaves_out_is_differentiated(
    function: Callable[..., Any], x: float, remedy: str
) -> None:
    x = np.float32(x)
    (found,) = diagnose_numbers(covector.make_ir(function)(x).main, [x]).findings
    assert found.direction == "backward" and found.what == "NaN"
    assert found.advice is not None and found.advice.pattern == "where"
    assert remedy in found.advice.remedy


def test_the_branch_that_a_where_takes_is_not_left_out() -> None:
    module = covector.make_ir(lambda x: jnp.where(x < 1, jnp.arctan2(x, 2 * x), 0.0))(0.0)
    (found,) = diagnose_numbers(module.main, [0.0]).findings
    assert found.advice is not None and found.advice.pattern == "atan2 at 0"


# -- the command line ------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return int(exit_.value.code or 0), *capsys.readouterr()


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "why-nan", f"{FILE}:safe_log")
    assert (status, err) == (1, "")
    assert "backward: NaN in ct_x: f32[3], the cotangent of x" in out
    assert "| " + "    return jnp.sum(jnp.where(x > 0, jnp.log(x), 0.0))\n" in out
    assert "remedy: select before the operation too" in out and "jnp.where(x > 0.0, x, 1.0)" in out
    data = json.loads(run(capsys, "why-nan", f"{FILE}:safe_log", "--json")[1])
    (found,) = data["findings"]
    assert found["source"]["primal"].endswith("= log x") and found["source"]["element"] == [1]


def test_command_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    target = (f"{FILE}:ratio", "--args", "f32[]")
    assert run(capsys, "why-nan", *target, "--at", "0")[0] == 1
    assert run(capsys, "why-nan", *target, "--at", "x=2")[0] == 0
    status, out, _ = run(capsys, "why-nan", *target, "--at", "x=2", "--probe")
    assert status == 1 and "x: f32[] = 0.0" in out
    status, _, err = run(capsys, "why-nan", *target, "--at", "y=2")
    assert status == 2 and "@ratio has no input 'y'" in err
    assert "is no number" in run(capsys, "why-nan", *target, "--at", "x=one")[2]


def test_command_directions(capsys: pytest.CaptureFixture[str]) -> None:
    target = f"{FILE}:norm"
    assert run(capsys, "why-nan", target, "--no-backward")[:2][0] == 0
    status, out, _ = run(capsys, "why-nan", target, "--passes", "grad", "--no-backward")
    assert status == 1 and "forward: NaN in ct_x" in out and "by the backward of" in out
