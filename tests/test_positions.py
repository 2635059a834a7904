"""Positions of extrema of large arrays on CPUs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.lowering.rules.reduction import LARGE, LONG

SHAPES = [((LARGE,), 0), ((LARGE // LONG, LONG), 1), ((LONG, 3, LARGE // LONG), 0)]


def located(name: str, axis: int, index: Any) -> Any:
    return lambda x: getattr(lax, name)(x, axis, index)


@pytest.mark.parametrize("special", [0.0, -0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_are_those_of_jax(
    name: str, shape: Any, axis: int, dtype: str, special: float
) -> None:
    """With ties, several NaNs and infinities."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=shape).round(1)
    values[draw.random(shape) < 0.01] = special
    with jax.enable_x64(True):
        x = jnp.asarray(values, dtype)
        for index in (jnp.int32, jnp.int64):
            f = located(name, axis, index)
            got, want = covector.jit(f)(x), jax.jit(f)(x)
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)


def test_positions_fit_in_what_is_asked_for() -> None:
    x = jnp.zeros((LONG * 4, 127)).at[:, 126].set(1)
    got = covector.jit(located("argmax", 1, jnp.int8))(x)
    np.testing.assert_array_equal(got, np.full(LONG * 4, 126))
