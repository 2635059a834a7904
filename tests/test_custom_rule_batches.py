"""Rules that depend on a mapped argument which their function does not depend on, and settings that
hide rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero
from laws import assert_close

import covector

W = jnp.linspace(0.1, 0.7, 3)
X = jnp.linspace(-1.0, 1.0, 24).reshape(4, 2, 3)


def plain(tangent: Any, like: Any) -> Any:
    return jnp.zeros(like.shape) if isinstance(tangent, SymbolicZero) else tangent


def with_jvp(symbolic_zeros: bool) -> Callable[..., Any]:
    """(w, x) -> outputs independent of x, whose tangents depend on it."""

    @jax.custom_jvp
    def g(w: Any, x: Any) -> Any:
        return jnp.sin(w) * 2.0, w[0]

    def rule(primals: Any, tangents: Any) -> Any:
        (w, x), (dw, dx) = primals, tangents
        dw, dx = plain(dw, w), plain(dx, x)
        return g(w, x), (jnp.cos(x).sum() * dx.sum() + dw * x, dw[1] * 3.0)

    g.defjvp(rule, symbolic_zeros=symbolic_zeros)
    return g


def with_vjp(symbolic_zeros: bool) -> Callable[..., Any]:
    @jax.custom_vjp
    def g(w: Any, x: Any) -> Any:
        return jnp.sin(w) * 2.0, w[0]

    def forward(w: Any, x: Any) -> Any:
        if symbolic_zeros:
            w, x = w.value, x.value
        return (jnp.sin(w) * 2.0 + 0.0 * x, w[0]), (w, x)

    def backward(residuals: Any, cts: Any) -> Any:
        w, x = residuals
        ct, ct0 = plain(cts[0], w), plain(cts[1], w[0])
        return ct * x + ct0, jnp.cos(x) * ct * w + ct0

    g.defvjp(forward, backward, symbolic_zeros=symbolic_zeros)
    return g


def loop(f: Any, n: int, axis: int = 0) -> Any:
    """What `jax.vmap` is to mean: the outputs of f(i), stacked. (For rules that mix mapped and
    unmapped cotangents jax.vmap itself is off by sums over the batch.)"""
    return jax.tree.map(lambda *ys: jnp.stack(ys, axis), *[f(i) for i in range(n)])


def mapped(g: Any, w: Any, x: Any) -> Any:
    return jax.vmap(g, (None, 0))(w, x[:, 0])


def loop_mapped(g: Any, w: Any, x: Any) -> Any:
    return loop(lambda i: g(w, x[i, 0]), 4)


def twice(g: Any, w: Any, x: Any) -> Any:
    return jax.vmap(jax.vmap(g, (None, 0)), (None, 1))(w, x)


def loop_twice(g: Any, w: Any, x: Any) -> Any:
    return loop(lambda j: loop(lambda i: g(w, x[i, j]), 4), 2)


def moved(g: Any, w: Any, x: Any) -> Any:
    """The batch axes of the arguments are not in front."""
    rows = jnp.stack([w, w * 2], axis=1)
    both = jax.vmap(jax.vmap(g, (1, None)), (None, 1), out_axes=(1, 0))
    return both(rows, x[:3, 0].T)


def loop_moved(g: Any, w: Any, x: Any) -> Any:
    rows = jnp.stack([w, w * 2], axis=1)
    y, z = loop(lambda k: loop(lambda i: g(rows[:, i], x[k, 0]), 2), 3)
    return jnp.swapaxes(y, 0, 1), z


def loss(f: Any, g: Any) -> Callable[..., Any]:
    def total(w: Any, x: Any) -> Any:
        ys = jax.tree.leaves(f(g, w, x))
        return sum((jnp.sin(jnp.arange(y.size)) * y.ravel() ** 2).sum() for y in ys)

    return total


PLACES = pytest.mark.parametrize(
    ("place", "looped"), [(mapped, loop_mapped), (twice, loop_twice), (moved, loop_moved)]
)


@PLACES
@pytest.mark.parametrize("symbolic_zeros", [False, True])
@pytest.mark.parametrize("make", [with_jvp, with_vjp])
def test_gradients_are_those_of_a_loop(
    make: Any, symbolic_zeros: bool, place: Any, looped: Any
) -> None:
    g = make(symbolic_zeros)
    f, by_loop = loss(place, g), loss(looped, g)
    for argnums in (0, 1, (0, 1)):
        want = jax.grad(by_loop, argnums)(W, X)
        for got in (covector.grad(f, argnums)(W, X), covector.jit(covector.grad(f, argnums))(W, X)):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want
            )


@PLACES
@pytest.mark.parametrize("symbolic_zeros", [False, True])
def test_tangents_and_values_are_those_of_a_loop(
    symbolic_zeros: bool, place: Any, looped: Any
) -> None:
    g = with_jvp(symbolic_zeros)
    got = covector.jvp(lambda w, x: place(g, w, x), (W, X), (W + 1, X - 2))
    want = jax.jvp(lambda w, x: looped(g, w, x), (W, X), (W + 1, X - 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)


# -- rules that JAX hides --------------------------------------------------------------------------


@pytest.fixture
def hidden() -> Any:
    """A function under JAX's setting, which counts where it is decorated, or where it is called."""
    before = jax.config.values["jax_custom_vjp3"]
    jax.config.update("jax_custom_vjp3", True)

    @jax.custom_vjp
    def clip(x: Any) -> Any:
        return jnp.sin(x)

    clip.defvjp(lambda x: (clip(x), x), lambda x, ct: (7.0 * ct * x,))
    yield clip
    jax.config.update("jax_custom_vjp3", before)


def in_vmap(f: Any) -> Any:
    return lambda x: jax.vmap(f)(x * jnp.ones(2)).sum()


def in_scan(f: Any) -> Any:
    return lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=2)[0]


def in_vmaps(f: Any) -> Any:
    rows = jax.vmap(jax.vmap(f, in_axes=1), in_axes=(2,))
    return lambda x: rows(x * jnp.arange(24.0).reshape(2, 3, 4)).sum()


def in_gradient(f: Any) -> Any:
    return lambda x: jax.grad(lambda y: jnp.sin(f(y)))(x) * x


@pytest.mark.parametrize(
    "wrap", [lambda f: f, jax.jit, jax.checkpoint, in_vmap, in_vmaps, in_scan, in_gradient]
)
def test_rules_of_custom_vjp3_count(hidden: Any, wrap: Any) -> None:
    f = wrap(hidden)
    wanted = jax.grad(f)(1.5)
    several = jnp.stack([jax.grad(f)(x) for x in (1.0, 2.0)])
    assert_close(covector.grad(f)(1.5), wanted)
    assert_close(covector.jit(covector.grad(f))(1.5), wanted)
    assert_close(covector.vmap(covector.grad(f))(jnp.array([1.0, 2.0])), several)
    in_batch = covector.grad(lambda x: covector.vmap(f)(x).sum())
    assert_close(in_batch(jnp.array([1.0, 2.0])), several)


@pytest.mark.skipif("jax_remat3" not in jax.config.values, reason="older than this setting")
def test_checkpoint_of_remat3() -> None:
    """It stays a checkpoint, with its policy, and has derivatives of all orders and both modes."""
    before = jax.config.values["jax_remat3"]
    jax.config.update("jax_remat3", True)
    try:
        policy = jax.checkpoint_policies.dots_saveable
        f = jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)), policy=policy)
        assert "checkpoint[" in str(covector.make_ir(f)(2.0))
        assert_close(covector.grad(in_scan(f))(2.0), jax.grad(in_scan(f))(2.0))
        assert_close(covector.hessian(f)(2.0), jax.hessian(lambda x: jnp.sin(jnp.sin(x)))(2.0))
        ir = covector.make_ir(lambda x: checkpoint_name(x, "kept"))(2.0)
        assert 'name[name="kept"]' in str(ir)
    finally:
        jax.config.update("jax_remat3", before)


def test_symbolic_zeros_of_custom_vjp3(hidden: Any) -> None:
    """`hidden` switches the setting on."""

    @jax.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return x * y, y

    def fwd(x: Any, y: Any) -> Any:
        return (x.value * y.value, y.value), (x.perturbed, y.perturbed)

    def bwd(moves: Any, cts: Any) -> Any:
        absent = isinstance(cts[1], SymbolicZero)
        return (cts[0] * 2.0 if moves[0] else None), (cts[0] * 3.0 if absent else cts[1])

    f.defvjp(fwd, bwd, symbolic_zeros=True)
    for grad in (jax.grad, covector.grad):
        assert grad(lambda x: f(x, 2.0)[0])(1.0) == 2.0
        assert grad(lambda y: f(2.0, y)[0])(1.0) == 3.0
