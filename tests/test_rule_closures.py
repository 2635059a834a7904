"""Rules that close over what is being recorded around their function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector

Function = Callable[..., Any]
X, Y = jnp.asarray([0.3, -0.7]), jnp.asarray([0.7, 0.2])


def jvp_rule(y: Any) -> Function:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return x * 2.0

    f.defjvp(lambda p, t: (p[0] * 2.0, t[0] * jnp.cos(y) * p[0]))
    return f


def jvp_rule_and_function(y: Any) -> Function:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return x * jnp.sin(y)

    f.defjvp(lambda p, t: (f(*p), t[0] * jnp.cos(y) * p[0]))
    return f


def forward_rule(y: Any) -> Function:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x * jnp.sin(y)

    f.defvjp(lambda x: (f(x), jnp.sin(y) * x), lambda r, ct: (ct * r,))
    return f


def backward_rule(y: Any) -> Function:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x * jnp.sin(y)

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * jnp.cos(y) * x,))
    return f


CLOSING = [jvp_rule, jvp_rule_and_function, forward_rule, backward_rule]


def mapped(make: Function) -> Function:
    """The value is one of a batch, as is the argument."""
    return lambda y, x: jax.vmap(lambda y, x: make(y)(x))(y, x).sum()


def mapped_alone(make: Function) -> Function:
    """The value is one of a batch, and the argument is not."""
    return lambda y, x: jax.vmap(lambda y: make(y)(x))(y).sum()


def mapped_twice(make: Function) -> Function:
    def row(y: Any, x: Any) -> Any:
        return jax.vmap(lambda y: make(y)(x))(jnp.stack([y, y * 0.5])).sum()

    return lambda y, x: jax.vmap(row)(y, x).sum()


def mapped_in_jit(make: Function) -> Function:
    return lambda y, x: covector.jit(mapped(make))(y, x)


def one_by_one(make: Function) -> Function:
    return lambda y, x: sum(make(a)(b) for a, b in zip(y, x, strict=True))


def each_with_all(make: Function) -> Function:
    return lambda y, x: sum(make(a)(x).sum() for a in y)


def two_for_one(make: Function) -> Function:
    return lambda y, x: one_by_one(make)(y, x) + one_by_one(make)(y * 0.5, x)


# What each batch means: JAX refuses some, and sums what a rule returns for an argument that is not
# mapped over examples of which only the rule knows.
MEANING = {
    mapped: one_by_one,
    mapped_alone: each_with_all,
    mapped_twice: two_for_one,
    mapped_in_jit: one_by_one,
}


@pytest.mark.parametrize("around", MEANING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", CLOSING, ids=lambda f: f.__name__)
def test_a_rule_reads_values_of_a_map_that_is_over(make: Function, around: Function) -> None:
    f, meant = around(make), MEANING[around](make)
    np.testing.assert_allclose(covector.jit(f)(Y, X), meant(Y, X), rtol=1e-6)
    want = jax.grad(meant, 1)(Y, X)
    for gradient in (covector.grad(f, 1), covector.jit(covector.grad(f, 1))):
        np.testing.assert_allclose(gradient(Y, X), want, rtol=1e-5)
    rows = jnp.stack([X, X + 1.0])
    want = jnp.stack([jax.grad(meant, 1)(Y, x) for x in rows])
    np.testing.assert_allclose(
        covector.vmap(covector.grad(f, 1), (None, 0))(Y, rows), want, rtol=1e-5
    )
    want = jax.grad(lambda x: jax.grad(meant, 1)(Y, x).sum())(X)
    got = covector.grad(lambda x: covector.grad(f, 1)(Y, x).sum())(X)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("make", CLOSING[:2], ids=lambda f: f.__name__)
def test_forward_mode_where_the_value_is_mapped(make: Function) -> None:
    f = mapped(make)
    want = jax.jvp(lambda x: f(Y, x), (X,), (Y,))
    got = covector.jvp(lambda x: f(Y, x), (X,), (Y,))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_rule_that_nobody_asks_for_may_close_over_anything() -> None:
    """jax.grad's own value is dead when a derivative is taken: here none by x is."""

    def f(y: Any, x: Any) -> Any:
        return jax.grad(lambda y: jvp_rule(y)(x).sum())(y)

    np.testing.assert_array_equal(covector.jit(f)(Y[0], X), jax.jit(f)(Y[0], X))
    loop = lambda x: lax.scan(lambda c, _: (c + f(c[0], x), None), Y, None, length=2)[0]  # noqa: E731
    np.testing.assert_array_equal(covector.jit(loop)(X), jax.jit(loop)(X))
