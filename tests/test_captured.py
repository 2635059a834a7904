"""Programs that differ in the arrays that they capture are one program, and let go of them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.frontend import compiled, execute


@pytest.fixture(autouse=True)
def _texts_read_back() -> None:
    """The check of all tests that texts read back holds their programs: not here."""


W = jnp.linspace(0.5, 1.5, 40)


def slope(api: Any, x: Any, y: Any) -> Any:
    """A gradient by w of a function that closes over x, in a loop too."""

    def step(c: Any, _: Any) -> Any:
        return jnp.sin(c * x) + y, None

    def loss(w: Any) -> Any:
        return (jax.lax.scan(step, w, None, length=3)[0] ** 2 * x).sum() + x @ w

    return api(loss)


def batches(number: int) -> list[Any]:
    rng = np.random.default_rng(0)
    arrays = [(rng.normal(size=40), rng.normal(size=(2,))) for _ in range(number)]
    return [(jnp.asarray(x), np.float32(np.repeat(y, 20))) for x, y in arrays]


def test_closures_over_new_arrays_run_the_same_program() -> None:
    known = None
    for x, y in batches(4):
        got = slope(covector.grad, x, y)(W)
        np.testing.assert_allclose(got, slope(jax.grad, x, y)(W), rtol=1e-3, atol=1e-4)
        assert known is None or known == {*execute._compiled, *execute._running}
        known = {*execute._compiled, *execute._running}


def test_compiled_closures_over_new_arrays_compile_once() -> None:
    known = None
    for x, y in batches(3):
        got = covector.jit(slope(covector.grad, x, y))(W)
        np.testing.assert_allclose(got, slope(jax.grad, x, y)(W), rtol=1e-3, atol=1e-4)
        assert known is None or known == {*compiled._executables}
        known = {*compiled._executables}


def test_one_array_captured_twice_is_not_two_arrays() -> None:
    a, b = jnp.arange(40.0), jnp.ones(40)
    for x, y in ((a, a), (a, b), (b, b)):
        got = covector.jit(lambda w, x=x, y=y: w * x + jnp.cos(y))(W)
        np.testing.assert_allclose(got, W * x + jnp.cos(y), rtol=1e-5)
        got = covector.grad(lambda w, x=x, y=y: (jnp.sin(w * x) * y).sum())(W)
        np.testing.assert_allclose(got, jnp.cos(W * x) * x * y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("call", [covector.jit, covector.grad, covector.vmap])
def test_captured_arrays_are_freed_with_the_function(call: Any) -> None:
    x = jnp.arange(40.0)
    f = (lambda x: lambda w: (w * x).sum())(x)
    g, held = call(f), weakref.ref(x)
    del x, f
    g(W), g(W)
    del g
    gc.collect()
    assert held() is None


def test_a_compiled_function_is_freed() -> None:
    g = covector.jit(lambda w: w + 1)
    g(W)
    held = weakref.ref(g)
    del g
    gc.collect()
    assert held() is None


def test_jax_clears_what_is_known_of_programs() -> None:
    traced = []

    @covector.jit
    def f(x: Any) -> Any:
        traced.append(x)
        return x + 1

    f(1.0), f(1.0)
    assert len(traced) == 1
    jax.clear_caches()
    assert not compiled._executables and not execute._compiled
    assert f(1.0) == 2.0 and len(traced) == 2
