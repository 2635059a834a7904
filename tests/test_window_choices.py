"""Gradients of maxima and minima over windows on CPUs: shifted arrays, with JAX's choices."""

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
    "apart": ((2, 6, 8, 3), {"window_dimensions": (1, 2, 2, 1), "window_strides": (1, 2, 2, 1)}),
    "left over": ((7, 8), {"window_dimensions": (2, 3), "window_strides": (2, 3)}),
    "overlap": ((7, 9), {"window_dimensions": (3, 2), "window_strides": (2, 1)}),
    "padded": ((6, 5), {"window_dimensions": (3, 3), "padding": ((1, 1), (2, 0))}),
    "gaps between": ((9,), {"window_dimensions": (2,), "window_strides": (4,)}),
    "empty": ((0, 5), {"window_dimensions": (1, 2)}),
    "no window": ((2, 5), {"window_dimensions": (3, 2)}),
    "large": ((90,), {"window_dimensions": (70,)}),
}
REDUCTIONS = {"max": (-np.inf, lax.max), "min": (np.inf, lax.min)}


def chosen(reduction: str, how: dict[str, Any]) -> Any:
    given = {"window_strides": (1,) * len(how["window_dimensions"]), "padding": "VALID", **how}
    start, function = REDUCTIONS[reduction]

    def run(x: Any) -> Any:
        weights = jnp.arange(1.0, 1.0 + x.size).reshape(x.shape).astype(x.dtype)
        best = lax.reduce_window(x, x.dtype.type(start), function, **given)
        return (best * weights.ravel()[: best.size].reshape(best.shape)).sum()

    return run


def data(shape: tuple[int, ...], kind: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    if kind == "ties":
        x = np.round(x)
    if kind in ("nan", "infinite"):
        special = np.nan if kind == "nan" else rng.choice([-np.inf, np.inf], size=shape)
        x = np.where(rng.random(shape) < 0.4, special, x)
    return x


@pytest.mark.parametrize("kind", ["plain", "ties", "nan", "infinite"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients_are_those_of_jax(case: Case, reduction: str, kind: str) -> None:
    shape, how = case
    x = jnp.asarray(data(shape, kind), jnp.float32)
    got, want = (
        library.jit(library.grad(chosen(reduction, how)))(x) for library in (covector, jax)
    )
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_halves_are_summed_as_jax_does(dtype: Any) -> None:
    shape, how = CASES["overlap"]
    x = jnp.asarray(data(shape, "plain"), dtype)
    got, want = (library.jit(library.grad(chosen("max", how)))(x) for library in (covector, jax))
    np.testing.assert_array_equal(np.asarray(got, np.float32), np.asarray(want, np.float32))


@pytest.mark.parametrize("name", CASES)
def test_which_are_shifted_arrays(name: str) -> None:
    shape, how = CASES[name]
    gradient = covector.jit(covector.grad(chosen("max", how)))
    text = gradient.lower(jnp.zeros(shape, jnp.float32)).as_text()
    assert ("select_and_scatter" in text) == (name in ("large", "empty", "no window"))
