"""A custom rule that asks for a value which is not known yet: the error names the user's line."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import covector


def forward_rule() -> tuple[Any, Any]:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        return f(*primals), tangents[0] * float(primals[0])  # asks

    return f, rule


def rules(asks_forward: bool) -> tuple[Any, Any]:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    def fwd(x: Any) -> Any:
        return f(x), (x * bool(x > 0) if asks_forward else x)  # asks

    def bwd(x: Any, ct: Any) -> Any:
        return (ct * int(x),)  # asks

    f.defvjp(fwd, bwd)
    return f, fwd if asks_forward else bwd


def line_that_asks(rule: Any) -> int:
    lines, first = inspect.getsourcelines(rule)
    return first + next(i for i, line in enumerate(lines) if "# asks" in line)


@pytest.mark.parametrize("wrap", [lambda f: f, covector.jit, covector.vmap])
@pytest.mark.parametrize(
    "make", [forward_rule, lambda: rules(True), lambda: rules(False)], ids=["jvp", "fwd", "bwd"]
)
def test_the_error_names_the_line_in_the_rule(make: Any, wrap: Any) -> None:
    f, rule = make()
    x = jnp.ones((2,) if wrap is covector.vmap else ())
    place = rf"asked for at .*test_custom_rule_values.py:{line_that_asks(rule)}\b"
    with pytest.raises(jax.errors.ConcretizationTypeError, match=place):
        covector.jit(covector.grad(lambda x: wrap(f)(x).sum()))(x)
