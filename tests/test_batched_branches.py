"""Examples that are not in a branch, or no longer in a loop, hand no cotangent back through it.

Zero times an infinite partial derivative is NaN: reverse mode must not multiply them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

XS = jnp.array([-1.0, 0.0, 0.25, 4.0])


def safe_sqrt(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.cond(x < 0.1, lambda: 0.0 * x, lambda: jnp.sqrt(x) * w)


def shared(x: jax.Array, w: jax.Array) -> jax.Array:
    """The infinite derivative is by what all examples share."""
    return jax.lax.cond(x < 9, lambda: x * w, lambda: x * jnp.sqrt(w))


def called(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.cond(x <= 0, lambda: w, lambda: jax.jit(lambda y: jnp.log(y) * w)(x))


def looped(x: jax.Array, w: jax.Array) -> jax.Array:
    def step(y: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.sqrt(y) * w, None

    return jax.lax.cond(x <= 0, lambda: w, lambda: jax.lax.scan(step, x, length=2)[0])


def looked_into(x: jax.Array, w: jax.Array) -> jax.Array:
    """A branch in a loop in a branch; each iteration would divide by zero."""

    def step(y: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = jax.lax.cond(v > 0, lambda: jnp.sqrt(y) * w, lambda: v / y)
        return y, jnp.log(y)

    def loop() -> jax.Array:
        y, zs = jax.lax.scan(step, x, jnp.array([1.0, -2.0]))
        return y + zs.sum() * (w + 1)

    return jax.lax.cond(x <= 0, lambda: w, loop)


def switched(x: jax.Array, w: jax.Array) -> jax.Array:
    branches = (lambda x: 1 / x, jnp.sqrt, lambda x: x**1.5 * w)
    return jax.lax.switch(jnp.where(x == 0, 2, x.astype(int)), branches, x)


def remembered(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.cond(x <= 0, lambda: w, jax.checkpoint(lambda: jnp.log(x) * w))


def missing(x: jax.Array, w: jax.Array) -> jax.Array:
    """Some examples are not numbers."""
    x = jnp.where(x == 0, jnp.nan, x)
    return jax.lax.cond(jnp.isnan(x), lambda: 0.0, lambda: x * x * w)


def hypot(x: jax.Array, w: jax.Array) -> jax.Array:
    """With a derivative of its own, of a function that loops until it is done."""
    rooted = jax.custom_jvp(jnp.sqrt)
    rooted.defjvps(lambda t, y, x: t / (2 * y))
    far = jax.lax.while_loop(lambda s: s < 3, lambda s: s + 1, jax.lax.stop_gradient(x))
    return jax.lax.cond(x <= 0, lambda: 0 * far, lambda: rooted(x * w) + x * far)


def endless(x: jax.Array, w: jax.Array) -> jax.Array:
    """Would not end at zero."""

    def doubled() -> jax.Array:
        s = jax.lax.stop_gradient(x)
        return jax.lax.while_loop(lambda s: abs(s) < 3, lambda s: 2 * s, s + 1e-3) * x * w

    return jax.lax.cond(x > 1, doubled, lambda: x)


@pytest.mark.parametrize(
    "f",
    [safe_sqrt, shared, called, looped, looked_into, switched, remembered, missing, hypot, endless],
)
@pytest.mark.parametrize("w", [0.0, 2.0])
def test_gradients_of_batches_equal_jax(f: Callable[..., Any], w: float) -> None:
    def loss(vmap: Any) -> Callable[..., Any]:
        return lambda x, w: vmap(f, (0, None))(x, w).sum()

    got = covector.grad(loss(covector.vmap), (0, 1))(XS, w)
    want = jax.grad(loss(jax.vmap), (0, 1))(XS, w)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    tangents = (jnp.ones_like(XS), 1.0)
    np.testing.assert_allclose(
        covector.jvp(loss(covector.vmap), (XS, w), tangents)[1],
        jax.jvp(loss(jax.vmap), (XS, w), tangents)[1],
        rtol=1e-5,
    )
    each = covector.vmap(covector.grad(f, (0, 1)), (0, None))(XS, w)
    np.testing.assert_allclose(got[0], each[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], each[1].sum(), rtol=1e-6)


def test_examples_that_are_done_hand_nothing_back_through_the_loop() -> None:
    def halved_root(x: jax.Array) -> jax.Array:
        """Until zero, where the square root has no derivative."""
        return jax.lax.while_loop(
            lambda s: s[0] > 0, lambda s: (s[0] - 1, s[1] + jnp.sqrt(s[0])), (x, 0.0)
        )[1]

    xs = jnp.array([0.0, 1.0, 3.0])
    got = covector.grad(lambda x: covector.vmap(halved_root)(x).sum())(xs)
    want = [0, 0.5, 0.5 * (1 / np.sqrt(3) + 1 / np.sqrt(2) + 1)]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def once(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sqrt(w @ x)


def in_a_loop(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda y, _: (jnp.log(w @ y), jnp.exp(y)), x, length=2)[0]


def in_a_branch(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.cond(w[0, 0] > 0, lambda: jnp.exp(w @ x), lambda: x)


@pytest.mark.parametrize("f", [once, in_a_loop, in_a_branch])
def test_weights_that_branches_share_stay_shared(f: Callable[..., Any]) -> None:
    def expert(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.cond(x[0] > 0, lambda: jnp.tanh(w @ x), lambda: f(x, w))

    program = covector.make_ir(covector.vmap(expert, (0, None)))(jnp.ones((5, 3)), jnp.ones((3, 3)))
    assert "f32[5,3,3]" not in str(program)
