"""Sorting on CPUs by integers that hold a key and a position: as JAX's, bit by bit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

import covector
from covector.lowering.rules.packed_sort import LEAST

N = LEAST + 77
FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn")
COMPLEX = ("complex64", "complex128")
INTEGERS = ("bool", "int4", "int8", "uint8", "int32", "uint32", "int64", "uint64")


def keys(dtype: str, shape: tuple[int, ...] = (N,), seed: int = 0) -> Any:
    """With many equal ones; floats with zeros of both signs, NaNs and infinities."""
    draw = np.random.default_rng(seed)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    if dtype in INTEGERS:
        ends = (0, 1) if dtype == "bool" else (jnp.iinfo(kind).min, jnp.iinfo(kind).max)
        few = draw.integers(max(int(ends[0]), -50), min(int(ends[1]), 50) + 1, shape).astype(kind)
        far = draw.choice(np.array(ends, object).astype(kind), shape)
        return jnp.asarray(np.where(draw.random(shape) < 0.1, far, few))
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf])
    x, y = (
        np.where(draw.random(shape) < 0.2, draw.choice(special, shape), draw.normal(size=shape))
        for _ in range(2)
    )
    made = np.zeros(shape, np.complex128)
    made.real, made.imag = x.round(1), y.round(1)
    return jnp.asarray((made if dtype in COMPLEX else made.real).astype(kind))


def assert_same(f: Any, *args: Any) -> None:
    """The results are JAX's to the bit, payloads of NaNs included."""
    for got, want in zip(covector.jit(f)(*args), jax.jit(f)(*args), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX, *INTEGERS])
def test_keys_of_any_dtype(dtype: str) -> None:
    with jax.enable_x64(True):
        x, place = keys(dtype), np.arange(N, dtype=np.int16)
        assert_same(lambda x: lax.sort((x, place, x.astype(bool)), num_keys=1), x)
        assert_same(lambda x: (lax.sort(x),), x)


SHAPES = [((40, 60), 0), ((40, 60), 1), ((9, 33, 7), 1), ((1, N), 0), ((N, 1), 1)]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_axes(shape: tuple[int, ...], axis: int) -> None:
    x = keys("float32", shape)
    place = lax.broadcasted_iota(np.int32, shape, axis)
    assert_same(lambda x: lax.sort((x, place), dimension=axis, num_keys=1), x)


@pytest.mark.parametrize(
    "dtypes",
    [("float32", "int32"), ("bool", "float16"), ("uint32", "bfloat16"), ("float64", "int32")],
)
def test_several_keys(dtypes: tuple[str, str]) -> None:
    """Those of the last are three words, which are compared."""
    with jax.enable_x64(True):
        x, y = (keys(dtype, seed=i) for i, dtype in enumerate(dtypes))
        place = np.arange(N)
        assert_same(lambda x, y: lax.sort((x, y, place), num_keys=2), x, y)


@pytest.mark.parametrize("dtype", sorted({*FLOATS, *INTEGERS} - {"int4"}))
def test_the_largest(dtype: str) -> None:
    """Of int4 there are none in JAX: XLA refuses its program."""
    with jax.enable_x64(True):
        for shape, axis in [((N,), 0), ((40, 60), 0), ((40, 60), 1), ((9, 33, 7), 1)]:
            assert_same(lambda x: lax.top_k(x, 7, axis=axis), keys(dtype, shape))  # noqa: B023
        assert_same(lambda x: lax.top_k(x, 0), keys(dtype))
        assert_same(lambda x: lax.top_k(x, N), keys(dtype))


def test_orders_without_a_promise_are_orders() -> None:
    x = keys("float32")
    f = covector.jit(lambda x: lax.sort((x, jnp.arange(N)), num_keys=1, is_stable=False))
    ordered, place = f(x)
    np.testing.assert_array_equal(np.asarray(x)[place], ordered)
    np.testing.assert_array_equal(ordered, np.sort(x))


@pytest.mark.parametrize("n", [LEAST - 1, LEAST])
def test_derivatives_follow_the_order(n: int) -> None:
    x, ct = jnp.asarray(np.random.default_rng(1).normal(size=(2, n)), jnp.float32)

    def derivative(library: Any) -> Any:
        return library.grad(lambda x: (jnp.sort(x) * ct).sum())(x)

    np.testing.assert_array_equal(derivative(covector), derivative(jax))


def test_integers_alone_are_left_to_xla() -> None:
    y = keys("int32")
    assert "gather" not in covector.jit(lax.sort).lower(y).as_text()
    assert_same(lambda y: (lax.sort(y),), y)
