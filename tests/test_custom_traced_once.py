"""How often functions with rules of their own are traced in one recording, and that calls which
differ are never taken for equal."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

pytestmark = pytest.mark.smoke


def scaled(calls: list[Any]) -> Any:
    """x times a factor that is no array; notes the factors that it is traced with."""

    @functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
    def f(x: Any, factor: Any) -> Any:
        calls.append(factor)
        return x * (factor.value if isinstance(factor, Factor) else factor)

    @f.defjvp
    def rule(factor: Any, primals: Any, tangents: Any) -> Any:
        x, dx = *primals, *tangents
        return f(x, factor), f(dx, factor)

    return f


class Factor:
    """A number that can be changed."""

    def __init__(self, value: float) -> None:
        self.value = value


def test_calls_with_equal_plain_arguments_are_traced_once() -> None:
    calls: list[Any] = []
    f = scaled(calls)
    y = covector.jit(lambda x: f(x, 3.0) + f(f(x, 3.0), 2.0))(jnp.full(3, 5.0))
    np.testing.assert_array_equal(y, np.full(3, 45))
    assert calls == [3.0, 2.0]


@pytest.mark.parametrize("pair", [(0.0, -0.0), (1, True), (1, 1.0), (2.0, 2 + 0j)], ids=str)
def test_plain_arguments_that_only_compare_equal_are_told_apart(pair: Any) -> None:
    f = scaled([])
    x = jnp.arange(1, 4)

    def both(x: Any) -> Any:
        return f(x, pair[0]), f(x, pair[1])

    for ours, theirs in zip(covector.jit(both)(x), jax.jit(both)(x), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(np.signbit(np.real(ours)), np.signbit(np.real(theirs)))


def test_arguments_that_can_change_are_traced_again() -> None:
    calls: list[Any] = []
    f, factor = scaled(calls), Factor(2.0)

    def twice(x: Any) -> Any:
        factor.value = 2.0
        first = f(x, factor)
        factor.value = 5.0
        return first + f(x, factor)

    assert covector.jit(twice)(1.0) == 7
    assert calls == [factor, factor]


def test_a_function_of_the_library_is_traced_once_with_its_rules() -> None:
    calls: list[Any] = []
    f = scaled(calls)
    for function in (f.fun, f.jvp):
        function.__module__ = "jax.of_a_test"  # JAX's own functions do not branch on values

    def twice(x: Any) -> Any:
        return f(x, 3.0) + covector.grad(f)(x, 3.0) + covector.grad(covector.grad(f))(x, 3.0)

    assert covector.jit(covector.grad(twice))(2.0) == jax.grad(lambda x: 3 * x)(2.0)
    assert calls == [3.0]
