"""Sums over windows on CPUs: those of small windows that overlap are sums of shifted arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector

Case = tuple[tuple[int, ...], dict[str, Any]]
CASES: dict[str, Case] = {
    "overlap": (
        (2, 7, 6, 3),
        {"window_dimensions": (1, 3, 2, 1), "padding": ((0, 0), (1, 1), (0, 1), (0, 0))},
    ),
    "strides": ((9, 8), {"window_dimensions": (3, 4), "window_strides": (2, 3)}),
    "dilation": ((9, 8), {"window_dimensions": (3, 2), "window_dilation": (2, 3)}),
    "gaps": ((5, 4), {"window_dimensions": (3, 3), "base_dilation": (2, 1)}),
    "gaps cut off": (
        (3,),
        {"window_dimensions": (3,), "base_dilation": (2,), "padding": ((0, -2),)},
    ),
    "cut": ((7, 6), {"window_dimensions": (3, 2), "padding": ((-1, 2), (1, -2))}),
    "nothing": ((0, 6), {"window_dimensions": (2, 2), "padding": ((3, 1), (0, 0))}),
    "no window": ((4, 0), {"window_dimensions": (2, 2)}),
}
LARGE: dict[str, Case] = {
    "apart": ((8, 6), {"window_dimensions": (2, 2), "window_strides": (2, 2)}),
    "wide": ((80,), {"window_dimensions": (70,)}),
}


def summed(how: dict[str, Any]) -> Any:
    given = {"window_strides": (1,) * len(how["window_dimensions"]), "padding": "VALID", **how}

    def run(x: Any) -> Any:
        return lax.reduce_window(x, np.zeros((), x.dtype)[()], lax.add, **given)

    return run


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "complex64"])
@pytest.mark.parametrize("case", (CASES | LARGE).values(), ids=CASES | LARGE)
def test_sums_are_those_of_jax(case: Case, dtype: Any) -> None:
    shape, how = case
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape) * 9, dtype)
    got, want = covector.jit(summed(how))(x), jax.jit(summed(how))(x)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=0 if want.dtype.kind in "iu" else 1e-5, atol=1e-5)


@pytest.mark.parametrize("case", (CASES | LARGE).values(), ids=CASES | LARGE)
def test_gradients_are_those_of_jax(case: Case) -> None:
    shape, how = case
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    got, want = (
        library.jit(library.grad(lambda x: jnp.sin(summed(how)(x)).sum()))(x)
        for library in (covector, jax)
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*CASES, *LARGE])
def test_which_are_sums_of_shifted_arrays(name: str) -> None:
    shape, how = (CASES | LARGE)[name]
    text = covector.jit(summed(how)).lower(jnp.zeros(shape, jnp.float32)).as_text()
    assert ("reduce_window" in text) == (name in LARGE or name == "no window")
