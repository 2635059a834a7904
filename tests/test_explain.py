"""`jit(explain=...)`: why a program was compiled, and that equal ones are not."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import covector

X = jnp.arange(4.0)


def told(*runs: Any) -> str:
    """What is said of the last of several compiled calls: (function, arguments, options)."""
    texts: list[str] = []
    jit = functools.partial(covector.jit, explain=texts.append)
    for fun, args, *options in runs:
        jit(fun, **dict(*options))(*args)
    return texts[-1]


def scale(factor: float) -> Any:
    return lambda x: jnp.cos(x) * factor


def looped(factor: float) -> Any:
    return lambda x: jax.lax.fori_loop(0, 5, lambda i, y: jnp.sin(y) * factor, x)


def test_an_equal_program_is_not_compiled_again() -> None:
    said = told((scale(5.0), (X,)), (scale(5.0), (X,)))
    assert said == "lambda: an equal program was compiled before, nothing is compiled"


def test_a_type_that_differs() -> None:
    said = told((scale(6.0), (X,)), (scale(6.0), (X[:3],)))
    assert said.splitlines()[1:] == ["  input x: f32[3], was f32[4]"]


def test_the_equation_that_differs() -> None:
    said = told((scale(7.0), (X,)), (scale(8.0), (X,)))
    line = scale.__code__.co_firstlineno + 1
    assert f"mul _ 8.0:f32[] (tests/test_explain.py:{line}:" in said
    assert "was _: f32[4] = mul _ 7.0:f32[]" in said


def test_the_equation_inside_of_a_loop() -> None:
    said = told((looped(0.5), (X,)), (looped(0.25), (X,)))
    (line,) = said.splitlines()[1:]
    at = looped.__code__.co_firstlineno + 1
    assert line.startswith(f"  in scan at tests/test_explain.py:{at}:")
    assert "mul _ 0.25:f32[]" in line


def test_a_captured_array_with_other_values() -> None:
    def plus(w: Any) -> Any:
        return lambda x: x[:, None] + w

    few, many = jnp.arange(12.0), jnp.arange(30.0)
    said = told((plus(few), (X,)), (plus(few + 1), (X,)))
    assert said.splitlines()[1] == "  the captured array w: f32[12] holds other values"
    assert "nothing is compiled" in told((plus(many), (X,)), (plus(many + 1), (X,)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"donate_argnums": 0}, "donated arguments: (0,), was ()"),
        ({"keep_unused": True}, "arguments handed over"),
        ({"static_argnums": 1}, "static arguments: ((1, 3),), was ()"),
    ],
)
def test_other_facts(options: dict[str, Any], expected: str) -> None:
    def f(x: Any, y: Any) -> Any:
        return x * 9.0

    said = told((f, (X, 3)), (f, (X + 0, 3), options))
    assert expected in said


def test_nothing_is_said_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    covector.jit(scale(11.0))(X)
    assert capsys.readouterr().err == ""
    covector.jit(scale(12.0), explain=True)(X)
    assert capsys.readouterr().err.startswith("compiling lambda: ")
