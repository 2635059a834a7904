"""custom_vjp functions that JAX has differentiated, inside of what is differentiated here."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from laws import assert_close

import covector
from covector.ir.errors import ForwardModeError

X = jnp.asarray([0.2, 0.5, 0.9])


@jax.custom_vjp
def weighted(x: Any, n: Any, y: Any) -> Any:
    return jnp.sin(x) * y + n, n


def _weighted_bwd(residuals: Any, cts: Any) -> Any:
    x, y = residuals
    return 2 * cts[0] * jnp.cos(x) * y, None, cts[0] * jnp.sin(x)


weighted.defvjp(lambda x, n, y: (weighted(x, n, y), (x, y)), _weighted_bwd)


@jax.custom_vjp
def told(x: Any, y: Any) -> Any:
    return jnp.sin(x), x * y


def _told_fwd(x: Any, y: Any) -> Any:
    return told(x.value, y.value), (x.value, y.value)


def _told_bwd(residuals: Any, cts: Any) -> Any:
    (x, y), (ct, other) = residuals, cts
    return (3 * ct * jnp.cos(x) if type(other) is not jax.Array else ct) * y, ct


told.defvjp(_told_fwd, _told_bwd, symbolic_zeros=True)


def divided(matvec: Any, b: Any) -> Any:
    return b / matvec(jnp.ones_like(b))


def solved(matvec: Any, b: Any) -> Any:
    return jax.lax.custom_linear_solve(matvec, b, divided, divided)


def improved(f: Any, x: Any) -> Any:
    return jax.lax.fori_loop(0, 30, lambda _, x: x - 0.4 * f(x), x)


def root(a: Any) -> Any:
    return jax.lax.custom_root(
        lambda x: weighted(x, 0, 1.0 + a)[0] - a * 0.5, 0.5 * a, improved, solved
    )


def root_of_told(a: Any) -> Any:
    return jax.lax.custom_root(lambda x: told(x, a)[0] - a * 0.5, 0.5 * a, improved, solved)


def scanned(a: Any) -> Any:
    return jax.lax.scan(lambda c, _: (jax.jit(root)(c) + a, c), a, None, length=3)[0]


def again(a: Any) -> Any:
    return jax.checkpoint(lambda a: root(a) * jnp.where(a > 0, root(a * a), a))(a)


@pytest.mark.smoke
def test_a_root_in_a_jaxpr_keeps_its_rule() -> None:
    def cubic(a: Any) -> Any:
        return jax.lax.custom_root(lambda x: x**3 + x * a - a * 0.5, 0.5 * a, improved, solved)

    module = covector.run_passes(covector.from_jaxpr(jax.make_jaxpr(cubic)(X[0])), "grad")
    (slope,) = module.as_function()(X[0])
    assert_close(slope, jax.grad(cubic)(X[0]))


def test_second_derivatives_of_a_root_in_a_jaxpr() -> None:
    def newton(f: Any, x: Any) -> Any:
        return jax.lax.fori_loop(0, 8, lambda _, x: x - f(x) / jax.grad(f)(x), x)

    def cubic(a: Any) -> Any:
        return jax.lax.custom_root(lambda x: x**3 + x * a - a * 0.5, 0.5 * a, newton, solved)

    a = X[0]
    x = cubic(a)  # x**3 + x a = a / 2, so x' (3 x**2 + a) = 1/2 - x
    slope = (0.5 - x) / (3 * x**2 + a)
    wanted = -(6 * x * slope + 2) * slope / (3 * x**2 + a)
    assert_close(jax.grad(cubic)(a), slope)
    assert_close(covector.hessian(jax.jit(cubic))(a), wanted, rtol=1e-3)
    assert_close(covector.grad(jax.checkpoint(covector.grad(cubic)))(a), wanted, rtol=1e-3)


@pytest.mark.smoke
@pytest.mark.parametrize("function", [root, root_of_told, scanned, again])
def test_inside_of_a_root(function: Any) -> None:
    wanted = jnp.stack([jnp.stack(jax.value_and_grad(function)(x)) for x in X])
    for x, (value, slope) in zip(X, wanted, strict=True):
        assert_close(covector.value_and_grad(function)(x), (value, slope))
        assert_close(covector.jit(covector.grad(function))(x), slope)
    assert_close(covector.vmap(covector.grad(function))(X), wanted[:, 1])
    assert_close(covector.grad(lambda xs: covector.vmap(function)(xs).sum())(X), wanted[:, 1])


def twice(a: Any, b: Any) -> Any:
    return weighted(jnp.exp(a), 3, a * b)[0] * b


@pytest.mark.parametrize(
    "transform", [lambda f: f, jax.jit, jax.checkpoint], ids=["plain", "jit", "checkpoint"]
)
def test_of_a_function_that_jax_linearized(transform: Any) -> None:
    linear = jax.linearize(twice, 0.3, 2.0)[1]
    wanted = jax.linear_transpose(linear, 1.0, 1.0)(1.0)
    pulled = transform(linear)
    assert_close(covector.linear_transpose(pulled, 1.0, 1.0)(1.0), wanted)
    assert_close(covector.grad(pulled, argnums=(0, 1))(0.5, 0.7), wanted)
    assert_close(covector.grad(lambda a: pulled(a * a, 0.0))(0.5), wanted[0])

    def looped(a: Any) -> Any:
        return jax.lax.scan(lambda c, _: (c + pulled(a, 2 * a), None), a, None, length=3)[0]

    assert_close(covector.grad(looped)(0.5), 1 + 3 * (wanted[0] + 2 * wanted[1]))
    rows = covector.vmap(covector.grad(pulled, argnums=(0, 1)))(X, X)
    assert_close(rows, [jnp.full(3, ct) for ct in wanted])


def test_only_its_transpose_is_known() -> None:
    linear = jax.linearize(twice, 0.3, 2.0)[1]
    with pytest.raises(ForwardModeError, match="forward-mode"):
        covector.jit(linear)(1.0, 1.0)
    with pytest.raises(ForwardModeError, match="forward-mode"):
        covector.grad(lambda x: jax.jvp(twice, (x, x), (1.0, 1.0))[1])(0.5)
