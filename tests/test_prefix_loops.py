"""Cumulative operations on CPUs: loops along the axis, in blocks where it is long."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.ir.builder import Builder
from covector.ir.graph import Graph, Value
from covector.ir.interpret import evaluate
from covector.ir.types import TensorType
from covector.lowering.rules.recurrence import tree

OPERATIONS = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
SHAPES = {
    "short": ((3,), 0),
    "one step": ((7, 1), 1),
    "blocks": ((2500,), 0),
    "many blocks": ((2, 5001), 1),
    "last": ((40, 300), 1),
    "first": ((300, 40), 0),
    "middle": ((5, 290, 9), 1),
    "empty lanes": ((0, 300), 1),
}


def operand(shape: tuple[int, ...], dtype: Any, name: str) -> Any:
    draw = np.random.default_rng(0)
    if name == "cumprod" and jnp.issubdtype(dtype, jnp.inexact):
        return jnp.asarray(np.exp(draw.normal(size=shape) / 30), dtype)
    return jnp.asarray(draw.normal(size=shape) * 3, dtype)


def along(name: str, axis: int = 0, reverse: bool = False) -> Any:
    return lambda x: getattr(lax, name)(x, axis=axis, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_results_are_those_of_jax(name: str, shape: Any, reverse: bool) -> None:
    f = along(name, shape[1], reverse)
    x = operand(shape[0], jnp.float32, name)
    got, want = covector.jit(f)(x), jax.jit(f)(x)
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6 * scale)


DTYPES = ("float16", "bfloat16", "float64", "complex64", "int32", "uint8")
KINDS = [(n, d) for n in OPERATIONS for d in DTYPES if n != "cumlogsumexp" or "int" not in d]


@pytest.mark.parametrize(("name", "dtype"), KINDS)
def test_dtypes(name: str, dtype: str) -> None:
    """Sums, and whatever is of halves, are rounded once each: they are as exact as can be."""
    with jax.enable_x64(True):
        f = along(name)
        x = operand((3000, 2), dtype, name)
        got = covector.jit(f)(x)
        assert got.dtype == x.dtype
        if jnp.issubdtype(x.dtype, jnp.integer):
            np.testing.assert_array_equal(got, jax.jit(f)(x))
            return
        wide = x.astype(jnp.complex128 if dtype == "complex64" else jnp.float64)
        want = np.asarray(jax.jit(f)(wide))
        bound = {"float64": 1e-12}.get(dtype, 4 * float(jnp.finfo(x.dtype).eps))
        np.testing.assert_allclose(
            np.asarray(got.astype(wide.dtype)), want, rtol=bound, atol=bound * np.abs(want).max()
        )


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_not_finite_stays_in_its_place(name: str) -> None:
    f = along(name)
    for special in (np.inf, -np.inf, np.nan):
        x = operand((2500,), jnp.float32, name).at[1200].set(special)
        got, want = covector.jit(f)(x), jax.jit(f)(x)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-3)


def test_sums_do_not_lose_what_is_small() -> None:
    x = jnp.full(1 << 18, 0.1, jnp.float32)
    want = np.cumsum(np.asarray(x, np.float64))
    np.testing.assert_allclose(covector.jit(jnp.cumsum)(x), want, rtol=1.2e-7)


def recurrence(type: TensorType, axis: int, reverse: bool) -> Graph:
    b = Builder()
    a, t = Value(type, "a"), Value(type, "t")
    return b.graph((a, t), (b.linear_recurrence(a, t, axis=axis, reverse=reverse),))


@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
def test_the_tree_is_the_recurrence(n: int, reverse: bool) -> None:
    """What other machines compute. The first factor is never used."""
    type = TensorType((2, n, 3), np.dtype(np.float64))
    a, t = np.random.default_rng(n).normal(size=(2, *type.shape))
    a[:, -1 if reverse else 0] = np.inf
    (got,) = evaluate(tree(type, 1, reverse), [a, t])
    (want,) = evaluate(recurrence(type, 1, reverse), [a, t])
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", ["cumprod", "cumlogsumexp"])
def test_gradients_of_long_axes_are_those_of_jax(name: str) -> None:
    def f(x: Any) -> Any:
        return (along(name, 1)(x) ** 2).sum()

    x = operand((3, 2100), jnp.float32, name)
    got, want = covector.jit(covector.grad(f))(x), jax.jit(jax.grad(f))(x)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * float(np.abs(want).max()))


def test_a_derivative_of_a_product_is_one_recurrence() -> None:
    module = covector.make_ir(covector.grad(lambda x: lax.cumprod(x).sum()))(jnp.ones(1000))
    assert str(module).count("= linear_recurrence") == 1
    assert len(module.main) < 12
