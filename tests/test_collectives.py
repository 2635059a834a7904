"""Collectives over the named axis of a batch, against JAX's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.ir.errors import CovectorError, InterpretError

Array = Any
Function = Callable[..., Any]

X = jnp.arange(12.0).reshape(4, 3) + 0.5
SQUARE = jnp.arange(16.0).reshape(4, 4) + 0.5
BIG = jnp.arange(96.0).reshape(4, 8, 3) + 0.5
NESTED = jnp.arange(72.0).reshape(2, 3, 12) * 0.1 + 0.5


@jax.custom_jvp
def with_jvp(x: Array) -> Array:
    return lax.psum(x**2, "i")


with_jvp.defjvp(lambda p, t: (with_jvp(*p), lax.psum(2 * p[0] * t[0], "i")))


@jax.custom_vjp
def with_vjp(x: Array) -> Array:
    return lax.psum(x**2, "i")


with_vjp.defvjp(
    lambda x: (with_vjp(x), x), lambda x, ct: (2 * x * lax.pmean(ct, "i") * lax.axis_size("i"),)
)


def in_scan(x: Array) -> Array:
    def step(c: Array, a: Array) -> tuple[Array, Array]:
        return c + lax.psum(c, "i") * a * 0.01, lax.axis_index("i") * a

    c, ys = lax.scan(step, x, jnp.arange(3.0))
    return c * ys.sum()


CASES: dict[str, tuple[Function, Array]] = {
    "psum": (lambda x: lax.psum(x, "i"), X),
    "psum and more": (lambda x: jnp.sin(x) * lax.psum(x**2, "i"), X),
    "psum of what is the same": (lambda x: x * lax.psum(1, "i") + lax.psum(2.0, "i"), X),
    "psum over a position": (lambda x: lax.psum(x, (0, "i")), X),
    "pmean": (lambda x: x - lax.pmean(x, "i"), X),
    "pmax": (lambda x: x * lax.pmax(jnp.sin(x), "i"), X),
    "pmin": (lambda x: x * lax.pmin(jnp.sin(x), "i"), X),
    "ppermute": (lambda x: lax.ppermute(x**2, "i", [(i, (i + 1) % 4) for i in range(4)]), X),
    "pshuffle": (lambda x: lax.pshuffle(x, "i", [2, 0, 3, 1]), X),
    "pswapaxes": (lambda x: lax.pswapaxes(x, "i", 0), SQUARE),
    "all_gather": (lambda x: lax.all_gather(jnp.sin(x), "i") * x, X),
    "all_gather along 1": (lambda x: lax.all_gather(x**2, "i", axis=1), X),
    "all_gather tiled": (lambda x: lax.all_gather(x**2, "i", axis=0, tiled=True), X),
    "all_to_all": (lambda x: lax.all_to_all(x**2, "i", 0, 0), SQUARE),
    "all_to_all 0 1": (lambda x: lax.all_to_all(x**2, "i", 0, 1, tiled=True), BIG),
    "all_to_all tiled": (lambda x: lax.all_to_all(x**2, "i", 0, 0, tiled=True), BIG),
    "psum_scatter": (lambda x: lax.psum_scatter(x**2, "i"), SQUARE),
    "psum_scatter tiled": (lambda x: lax.psum_scatter(x**2, "i", tiled=True), BIG),
    "axis_index": (lambda x: x * lax.axis_index("i"), X),
    "in scan": (in_scan, X),
    "in cond": (
        lambda x: lax.cond(lax.psum(x.sum(), "i") > 0, lambda x: lax.psum(x * x, "i"), jnp.sin, x),
        X,
    ),
    "in a loop": (lambda x: lax.fori_loop(0, 3, lambda _, c: c + lax.pmean(c, "i"), x), X),
    "in custom_jvp": (lambda x: with_jvp(x) * x, X),
    "in custom_vjp": (lambda x: with_vjp(x) * x, X),
    "in checkpoint": (jax.checkpoint(lambda x: jnp.sin(lax.psum(jnp.sin(x), "i")) * x), X),
}


def total(f: Function) -> Function:
    return lambda x: jnp.sum(jnp.sin(f(x)))


USES: dict[str, Callable[[Any, Function], Function]] = {
    "value": lambda lib, f: lib.jit(lib.vmap(lib.jit(f), axis_name="i")),
    "gradient outside": lambda lib, f: lib.grad(total(lib.vmap(f, axis_name="i"))),
    "gradient inside": lambda lib, f: lib.vmap(lib.grad(total(f)), axis_name="i"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("case", CASES)
def test_as_in_jax(case: str, use: str) -> None:
    f, x = CASES[case]
    if "gradient" in use and case in ("pmax", "pmin"):
        pytest.skip("JAX has no derivative")
    if (case, use) == ("in custom_vjp", "gradient outside"):
        pytest.skip("JAX loses the axis name")
    got, want = USES[use](covector, f)(x), USES[use](jax, f)(x)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_allclose(got, want, rtol=2e-5)


AXES: list[Any] = ["i", "j", ("i", "j"), ("j", "i")]
NESTED_CASES: dict[str, Callable[[Any], Function]] = {
    "psum": lambda axes: lambda x: x * lax.psum(x, axes),
    "pmax": lambda axes: lambda x: x * lax.pmax(lax.stop_gradient(x), axes),
    "axis_index": lambda axes: lambda x: x * lax.axis_index(axes),
    "all_to_all": lambda axes: lambda x: lax.all_to_all(x, axes, 0, 0, tiled=True),
    "all_to_all 0 1": lambda axes: (
        lambda x: lax.all_to_all(x.reshape(12, 1) * jnp.arange(1, 3.0), axes, 0, 1, tiled=True)
    ),
    "all_gather": lambda axes: lambda x: lax.all_gather(x, axes),
    "psum_scatter": lambda axes: lambda x: lax.psum_scatter(x, axes, tiled=True),
}


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("case", NESTED_CASES)
def test_nested_axes(case: str, axes: Any) -> None:
    f = NESTED_CASES[case](axes)

    def run(lib: Any) -> tuple[Array, Array]:
        mapped = lib.vmap(lib.vmap(f, axis_name="j"), axis_name="i")
        return mapped(NESTED), lib.grad(total(mapped))(NESTED)

    if isinstance(axes, tuple) and case in ("all_gather", "psum_scatter"):
        with pytest.raises(CovectorError, match="over several axes together"):
            run(covector)
        return
    for got, want in zip(run(covector), run(jax), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5)


def test_sums_of_equals_in_groups() -> None:
    """JAX has those of what is not mapped, where nothing is jitted."""

    def f(x: Array) -> Array:
        return x * lax.psum(jnp.arange(3.0), "i", axis_index_groups=[[0, 3], [2, 1]])

    want = jax.vmap(f, axis_name="i")(X)
    np.testing.assert_allclose(covector.vmap(f, axis_name="i")(X), want)
    np.testing.assert_allclose(covector.jit(covector.vmap(f, axis_name="i"))(X), want)


def test_extrema_have_derivatives() -> None:
    """Of those that are the extremum, in equal parts: as of max along an axis."""
    x = jnp.array([1.0, 3.0, 3.0])
    got = covector.grad(lambda x: covector.vmap(lambda a: lax.pmax(a, "i"), axis_name="i")(x)[0])
    np.testing.assert_allclose(got(x), [0.0, 0.5, 0.5])
    inside = covector.vmap(covector.grad(lambda a: lax.pmax(a, "i")), axis_name="i")(x)
    np.testing.assert_allclose(inside, [0.0, 1.5, 1.5])


def test_pbroadcast_and_partial_ppermute() -> None:
    mapped = covector.vmap(lambda x: lax.pbroadcast(x, "i", 2), axis_name="i")
    np.testing.assert_array_equal(mapped(X), jnp.broadcast_to(X[2], X.shape))
    np.testing.assert_array_equal(covector.grad(lambda x: mapped(x).sum())(X)[2], [4.0, 4.0, 4.0])
    moved = covector.vmap(lambda x: lax.ppermute(x, "i", [(0, 1), (1, 3)]), axis_name="i")(X)
    np.testing.assert_array_equal(moved, jnp.stack([0 * X[0], X[0], 0 * X[0], X[1]]))


def test_jax_inside_and_outside() -> None:
    f = CASES["psum and more"][0]
    want = jax.vmap(f, axis_name="i")(X)
    got = covector.jit(lambda x: jax.vmap(f, axis_name="i")(x))(X)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    with pytest.raises(NameError, match="unbound axis name"):
        covector.vmap(lambda x: lax.axis_size("k") * x, axis_name="i")(X)


def test_results_are_strongly_typed() -> None:
    x = lax.broadcast(0.5, (3,))
    for library in (covector, jax):
        f = lambda x, lib=library: lib.vmap(lambda a: lax.psum(a, "i"), axis_name="i")(x)
        assert not covector.make_ir(f)(x).main.output_types[0].weak


def test_spmd_axis_name_is_accepted() -> None:
    got = covector.vmap(jnp.sin, axis_name="i", spmd_axis_name="data")(X)
    np.testing.assert_allclose(got, jnp.sin(X), rtol=1e-6)


def test_the_pass_batch_resolves_an_axis_in_text() -> None:
    module = covector.parse(
        'func @f(x: f32[3]) -> (f32[3]) {\n  y: f32[3] = psum[axes=("rows",)] x\n  return y\n}'
    ).verify()
    batched = covector.run_passes(module, "batch{size=4 axis_name=rows}")
    assert "reduce_sum[axes=(0,)]" in str(batched)
    np.testing.assert_allclose(batched.interpret(X)[0], np.broadcast_to(X.sum(0), X.shape))
    with pytest.raises(InterpretError, match="a collective over rows"):
        module.interpret(X[0])
    with pytest.raises(CovectorError, match="psum over the axis rows is left in the program"):
        module.run(X[0])
