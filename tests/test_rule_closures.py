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
    loop = lambda x: lax.scan(lambda c, _: (c + f(c[0], x), None), Y, None, length=2)[0]
    np.testing.assert_array_equal(covector.jit(loop)(X), jax.jit(loop)(X))


# -- in what JAX traces before it is recorded ------------------------------------------------------


def in_scan(f: Function) -> Function:
    return lambda x: lax.scan(lambda c, _: (f(c), f(c) * 0.5), x, None, length=2)[1].sum()


def in_fori(f: Function) -> Function:
    return lambda x: lax.fori_loop(0, 2, lambda i, c: f(c) * (i + 1.0), x).sum()


def in_while(f: Function) -> Function:
    """Its condition calls the function, too."""
    return lambda x: lax.while_loop(
        lambda c: (c[1] < 2) & (f(c[0]).sum() < 1e6), lambda c: (f(c[0]), c[1] + 1), (x, 0)
    )[0].sum()


def in_one_branch(f: Function) -> Function:
    return lambda x: lax.cond(x[0] > 0, lambda x: f(x), lambda x: x * 2.0, x).sum()


def in_one_of_many(f: Function) -> Function:
    branches = [jnp.cos, lambda x: jax.jit(f)(x) * 2.0, jnp.sin]
    return lambda x: lax.switch((x[0] * 3 + 1).astype(int), branches, x).sum()


def in_jit(f: Function) -> Function:
    return lambda x: jax.jit(lambda x: f(x) + jax.jit(f)(x * 0.5))(x).sum()


def in_checkpoint(f: Function) -> Function:
    return lambda x: jax.checkpoint(lambda x: jnp.sin(f(x)))(x).sum()


def in_another_rule(f: Function) -> Function:
    @jax.custom_vjp
    def g(x: Any) -> Any:
        return f(x)

    g.defvjp(lambda x: (f(x), f(x)), lambda r, ct: (ct * r,))
    return lambda x: lax.scan(lambda c, _: (g(c), None), x, None, length=2)[0].sum()


def in_a_solve(f: Function) -> Function:
    """What is solved for applies the function in a loop, whose rule nobody asks for."""

    def g(x: Any) -> Any:
        matvec = lambda v: 2.0 * v + 0.0 * lax.stop_gradient(jax.jit(f)(v))
        return f(jax.scipy.sparse.linalg.cg(matvec, x)[0]).sum()

    return g


def deep(f: Function) -> Function:
    step = jax.checkpoint(lambda c, _: (lax.cond(c[0] > -9, jax.jit(f), jnp.sin, c), None))
    return lambda x: lax.fori_loop(0, 2, lambda _, c: lax.scan(step, c, None, 1)[0] + x, x).sum()


REGIONS = [
    in_scan, in_fori, in_while, in_one_branch, in_one_of_many, in_jit, in_checkpoint,
    in_another_rule, in_a_solve, deep,
]  # fmt: skip


@pytest.mark.parametrize("region", REGIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", CLOSING, ids=lambda f: f.__name__)
def test_a_rule_in_a_region_reads_what_is_recorded(make: Function, region: Function) -> None:
    """The meaning is the function of a number: JAX's rules in regions may close over that."""

    def f(y: Any, x: Any) -> Any:
        return region(make(y))(x)

    y, rows = Y[0], jnp.stack([X, X * 0.5])
    value, gradient = region(make(y)), covector.grad(f, 1)
    np.testing.assert_allclose(covector.jit(f)(y, X), value(X), rtol=1e-6)
    want = _pulled(value, X)
    np.testing.assert_allclose(gradient(y, X), want, rtol=1e-5)
    np.testing.assert_allclose(covector.jit(gradient)(y, X), want, rtol=1e-5)
    want = jnp.stack([_pulled(region(make(v)), x) for v, x in zip(Y, rows, strict=True)])
    np.testing.assert_allclose(covector.jit(covector.vmap(gradient))(Y, rows), want, rtol=1e-5)
    module = covector.make_ir(f)(y, X)
    assert covector.parse(str(module)) == module
    np.testing.assert_allclose(module.interpret(y, X)[0], value(X), rtol=1e-6)


def _pulled(f: Function, x: Any) -> Any:
    """JAX's gradient; that of a loop whose length JAX does not know is covector's of a number."""
    try:
        return jax.grad(f)(x)
    except ValueError:
        return covector.grad(f)(x)


@pytest.mark.parametrize("region", [in_jit, in_one_branch, in_checkpoint], ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", CLOSING, ids=lambda f: f.__name__)
def test_second_derivatives_of_rules_in_regions(make: Function, region: Function) -> None:
    def twice(lib: Any, y: Any) -> Any:
        gradient = lambda y, x: lib.grad(lambda y, x: region(make(y))(x), 1)(y, x)
        return lib.grad(lambda x: gradient(y, x).sum())(X)

    plain = lambda y: jax.grad(lambda x: jax.grad(without_region[region](make(y)))(x).sum())(X)
    np.testing.assert_allclose(twice(covector, Y[0]), plain(Y[0]), rtol=1e-5)
    np.testing.assert_allclose(
        covector.jit(lambda y: twice(covector, y))(Y[0]), plain(Y[0]), rtol=1e-5
    )


without_region = {
    in_jit: lambda f: lambda x: (f(x) + f(x * 0.5)).sum(),
    in_one_branch: lambda f: lambda x: f(x).sum(),
    in_checkpoint: lambda f: lambda x: jnp.sin(f(x)).sum(),
}
"""The same written without them: JAX's second derivatives of these have lost the rules."""


def test_the_derivative_by_what_a_rule_closes_over_is_refused() -> None:
    """It says nothing of it; JAX has zeros there, or says that a tracer has escaped."""
    for region in (in_jit, in_scan, in_checkpoint):
        f = lambda y, x, region=region: region(jvp_rule_and_function(y))(x)
        with pytest.raises(jax.errors.UnexpectedTracerError, match="closes over"):
            covector.grad(f, (0, 1))(Y[0], X)


@pytest.mark.parametrize("make", CLOSING, ids=lambda f: f.__name__)
def test_a_rule_that_nobody_asks_for_in_a_loop_with_a_mutable_array(make: Function) -> None:
    def f(y: Any, x: Any) -> Any:
        total = jax.new_ref(jnp.zeros(2))

        def step(c: Any, _: Any) -> Any:
            total[...] += make(y)(c)
            return c * 0.5, None

        lax.scan(step, x, None, length=2)
        return total[...]

    np.testing.assert_allclose(covector.jit(f)(Y[0], X), jax.jit(f)(Y[0], X), rtol=1e-6)
