"""Functions with rules, called on what is differentiated: Python runs the rules, as in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

Ran = list[str]


def watched(ran: Ran) -> tuple[Any, Any]:
    """A custom_vjp and a custom_jvp function that note what Python runs of them."""

    @jax.custom_vjp
    def f(x: Any) -> Any:
        ran.append("f")
        return jnp.sin(x)

    def f_fwd(x: Any) -> Any:
        ran.append("f_fwd")
        return f(x), x

    def f_bwd(x: Any, ct: Any) -> Any:
        ran.append("f_bwd")
        return (jnp.cos(x) * ct,)

    f.defvjp(f_fwd, f_bwd)

    @jax.custom_jvp
    def g(x: Any, y: Any) -> Any:
        ran.append("g")
        return jnp.sin(x) * y

    @g.defjvp
    def g_jvp(primals: Any, tangents: Any) -> Any:
        ran.append("g_jvp")
        (x, y), (dx, dy) = primals, tangents
        return g(x, y), jnp.cos(x) * dx * y + jnp.sin(x) * dy

    return f, g


def pulled(api: Any, f: Any, ran: Ran) -> Any:
    y, pull = api.vjp(f, 3.0)
    ran.append("--")
    first = pull(1.0)
    ran.append("--")
    return y, first, pull(2.0)


def branching(f: Any, x: Any) -> Any:
    return f(x) if f(x) > 0 else -x


def caught(f: Any, x: Any) -> Any:
    try:
        return f(x)
    except ValueError:
        return x


XS = np.array([1.0, 2.0, 3.0])
CASES: dict[str, Callable[..., Any]] = {
    "call": lambda api, f, g, ran: (f(3.0), g(3.0, 4.0)),
    "grad": lambda api, f, g, ran: api.grad(f)(3.0),
    "jit of grad": lambda api, f, g, ran: api.jit(api.grad(f))(3.0),
    "grad of jit": lambda api, f, g, ran: api.grad(api.jit(f))(3.0),
    "vjp": lambda api, f, g, ran: pulled(api, f, ran),
    "second": lambda api, f, g, ran: api.grad(api.grad(f))(3.0),
    "third": lambda api, f, g, ran: api.grad(api.grad(api.grad(f)))(3.0),
    "vmap": lambda api, f, g, ran: api.vmap(f)(XS),
    "vmap of grad": lambda api, f, g, ran: api.vmap(api.grad(f))(XS),
    "grad of vmap": lambda api, f, g, ran: api.grad(lambda x: api.vmap(f)(x).sum())(XS),
    "grad of JAX's vmap": lambda api, f, g, ran: api.grad(lambda x: jax.vmap(f)(x).sum())(XS),
    "jacrev": lambda api, f, g, ran: api.jacrev(f)(3.0),
    "jvp": lambda api, f, g, ran: api.jvp(g, (3.0, 4.0), (1.0, 1.0)),
    "grad with jvp rule": lambda api, f, g, ran: api.grad(g, (0, 1))(3.0, 4.0),
    "second with jvp rule": lambda api, f, g, ran: api.grad(api.grad(g))(3.0, 4.0),
    "hvp": lambda api, f, g, ran: api.jvp(api.grad(g), (3.0, 4.0), (1.0, 1.0)),
    "linearize": lambda api, f, g, ran: api.linearize(g, 3.0, 4.0)[1](1.0, 1.0),
    "jacfwd": lambda api, f, g, ran: api.jacfwd(g)(3.0, 4.0),
    "of constants": lambda api, f, g, ran: api.grad(lambda x: x * f(2.0) + g(1.0, 2.0))(3.0),
    "of another argument": lambda api, f, g, ran: api.grad(lambda x, y: x * f(y))(3.0, 1.0),
    "stopped": lambda api, f, g, ran: api.grad(lambda x: x * f(jax.lax.stop_gradient(x)))(3.0),
    "of the outer variable": lambda api, f, g, ran: api.grad(
        lambda y: api.grad(lambda x: x * x * f(y))(1.0)
    )(2.0),
    "chain": lambda api, f, g, ran: api.grad(lambda x: g(f(jnp.sin(x)), f(x)))(3.0),
    "branch": lambda api, f, g, ran: api.grad(lambda x: branching(f, x))(3.0),
    "try": lambda api, f, g, ran: api.grad(lambda x: caught(f, x))(3.0),
    "in a loop": lambda api, f, g, ran: api.grad(
        lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=3)[0]
    )(3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_runs(name: str) -> None:
    found = []
    for api in (jax, covector):
        ran: Ran = []
        result = CASES[name](api, *watched(ran), ran)
        found.append((ran, result))
    (wanted, expected), (ran, result) = found
    assert ran == wanted
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), result, expected)


def test_the_value_is_that_of_the_rule() -> None:
    """As in JAX, where rule and function do not agree; Python that branches sees it too."""

    @jax.custom_jvp
    def f(x: Any) -> Any:
        return x

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        return primals[0] * 10, tangents[0] * 3

    def h(x: Any) -> Any:
        return f(x) if f(x) > 5 else -f(x)

    for api in (jax, covector):
        assert h(1.0) == -1.0
        value, gradient = api.value_and_grad(h)(1.0)
        assert (float(value), float(gradient)) == (10.0, 3.0)


def test_results_that_are_made_from_tangents() -> None:
    """Such a rule says nothing of the function: that is recorded itself."""

    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        (x,), (dx,) = primals, tangents
        return jnp.sin(x) + 0 * dx, jnp.cos(x) * dx

    for api in (jax, covector):
        value, tangent = api.jvp(f, (0.5,), (2.0,))
        np.testing.assert_allclose((value, tangent), (np.sin(0.5), 2 * np.cos(0.5)), rtol=1e-6)


def test_results_without_a_tangent_do_not_move() -> None:
    ran: Ran = []

    @jax.custom_jvp
    def f(x: Any) -> Any:
        ran.append("f")
        return x * 2

    def f_jvp(primals: Any, tangents: Any) -> Any:
        ran.append("rule")
        zero = jax.custom_derivatives.SymbolicZero(jax.core.ShapedArray((), jnp.float32))
        return primals[0] * 2, zero

    f.defjvp(f_jvp, symbolic_zeros=True)
    for api in (jax, covector):
        ran.clear()
        assert float(api.grad(lambda x: f(f(x)) + x * x)(3.0)) == 6.0
        assert ran == ["rule", "f"]


def test_outputs_without_derivative_and_several_arguments() -> None:
    """Integers among inputs and outputs, numbers of Python's as they are."""

    @jax.custom_vjp
    def f(x: Any, n: Any, table: Any) -> Any:
        return {"y": table[1] * x * n, "n": n + 1}

    def fwd(x: Any, n: Any, table: Any) -> Any:
        return f(x, n, table), (x, n)

    def bwd(kept: Any, ct: Any) -> Any:
        _, n = kept
        return ct["y"] * n * 2, None, None

    f.defvjp(fwd, bwd)

    def h(x: Any) -> Any:
        out = f(x, 3, (1.0, 2.0))
        return jnp.sum(out["y"]) * out["n"]

    x = jnp.arange(4.0)
    np.testing.assert_allclose(covector.grad(h)(x), jax.grad(h)(x))
    np.testing.assert_allclose(covector.jit(covector.grad(h))(x), jax.jit(jax.grad(h))(x))
    np.testing.assert_allclose(covector.vmap(covector.grad(h))(x), jax.vmap(jax.grad(h))(x))
