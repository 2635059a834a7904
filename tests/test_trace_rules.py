"""Recording: custom rules, and JAX's own transformations inside of what is recorded."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from trace_helpers import X, find, record, same

from covector.frontend.modules import as_function, make_ir
from covector.ir.graph import Value

# -- custom rules ----------------------------------------------------------------------------------


def grads(f: Any, *args: Any) -> tuple[Any, Any]:
    """The gradients of f as it is, and as it came back from a graph."""

    def total(f: Any) -> Any:
        return jax.grad(lambda *args: jnp.sum(f(*args)))(*args)

    return total(as_function(make_ir(f)(*args))), total(f)


def test_rules_closing_over_traced_values() -> None:
    """The rule reads y long after the trace of y is over."""

    def f(x: Any, y: Any) -> Any:
        @jax.custom_jvp
        def g(x: Any) -> Any:
            return x * y

        g.defjvp(lambda primals, tangents: (g(*primals), tangents[0] * y * 10))
        return g(x)

    graph = record(f, X, X)
    assert find(graph, "custom_jvp_call").params["num_consts"] >= 1
    same(grads(f, X, X)[0], X * 10)


def test_reverse_rules_closing_over_traced_values() -> None:
    def f(x: Any, y: Any) -> Any:
        @jax.custom_vjp
        def g(x: Any) -> Any:
            return x * y

        g.defvjp(lambda x: (x * y, jnp.cos(x)), lambda res, ct: (ct * res * y,))
        return g(x)

    same(grads(f, X, X)[0], np.cos(X) * X)


def test_rules_with_static_arguments() -> None:
    @functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
    def power(f: Any, n: int, x: Any) -> Any:
        return f(x) ** n

    @power.defjvp
    def rule(f: Any, n: int, primals: Any, tangents: Any) -> Any:
        return power(f, n, *primals), tangents[0] * 5.0 * n

    actual, expected = grads(lambda x: power(jnp.sin, 3, x), X)
    same(actual, expected)


@pytest.mark.parametrize("symbolic_zeros", [False, True])
def test_forward_rules(symbolic_zeros: bool) -> None:
    told = []

    @jax.custom_jvp
    def g(x: Any, n: Any, y: Any) -> Any:
        return x * y + n, jnp.sum(y), n

    @functools.partial(g.defjvp, symbolic_zeros=symbolic_zeros)
    def rule(primals: Any, tangents: Any) -> Any:
        y = primals[2]
        dx, dn, dy = tangents
        told.append([type(t).__name__ == "SymbolicZero" for t in tangents])
        out = g(*primals)
        if symbolic_zeros:
            zero = jax.custom_derivatives.SymbolicZero(jax.typeof(out[1]).to_tangent_aval())
            return out, (dx * y * 7, zero, dn)
        return out, (dx * y * 7 + dy * 0, jnp.sum(dy) * 0, dn)

    def f(x: Any) -> Any:
        a, b, n = g(x, jnp.int32(3), jnp.cos(jnp.ones(3)))
        return a + b + n

    actual, expected = grads(f, X)
    same(actual, expected)
    assert told[0] == told[-1] == [False, symbolic_zeros, symbolic_zeros]


@pytest.mark.parametrize("symbolic_zeros", [False, True])
def test_reverse_rules(symbolic_zeros: bool) -> None:
    @jax.custom_vjp
    def g(x: Any, n: Any, y: Any) -> Any:
        return {"a": x * y["y"], "b": x * n}

    def fwd(x: Any, n: Any, y: Any) -> Any:
        if symbolic_zeros:
            x, n, y = x.value, n.value, {"y": y["y"].value}
        return g(x, n, y), (x, y, n)

    def bwd(residuals: Any, cts: Any) -> Any:
        x, y, n = residuals
        if symbolic_zeros:
            zero = jax.custom_derivatives.SymbolicZero
            cts = {k: jnp.zeros(3) if isinstance(c, zero) else c for k, c in cts.items()}
        return cts["a"] * y["y"] * 3 + cts["b"] * n, None, {"y": cts["a"] * x}

    g.defvjp(fwd, bwd, symbolic_zeros=symbolic_zeros)

    def f(x: Any, y: Any) -> Any:
        out = g(x, 2, {"y": y})
        return out["a"] * 2

    actual, expected = grads(f, X, X)
    same(actual, expected)


def test_rules_inside_of_jitted_functions() -> None:
    @jax.custom_jvp
    def g(x: Any) -> Any:
        return jnp.sin(x)

    g.defjvp(lambda primals, tangents: (g(*primals), tangents[0] * 3))
    h = jax.jit(lambda x: g(x) * 2)
    same(*grads(h, X))
    same(grads(h, X)[0], np.full(3, 6.0))


def test_one_function_is_traced_once_in_a_recording() -> None:
    def f(x: Any) -> Any:
        return jax.nn.relu(jax.nn.relu(x) - 1)

    graph = record(f, X)
    first, second = (e.params for e in graph.equations if e.primitive.name == "custom_jvp_call")
    assert first["graph"] is second["graph"]
    assert first["jvp"] is second["jvp"]


def test_a_gradient_stated_with_the_function() -> None:
    @jax.custom_gradient
    def f(x: Any) -> Any:
        return x**2, lambda ct: ct * 10 * x

    same(*grads(f, X))


def test_checkpoint_policies_by_name() -> None:
    from jax.ad_checkpoint import checkpoint_name

    policies = jax.checkpoint_policies

    def body(x: Any) -> Any:
        return jnp.sin(checkpoint_name(jnp.sin(x), "s"))

    def policy(given: Any) -> Any:
        f = jax.checkpoint(body, policy=given)
        same(*grads(f, X))
        return find(record(f, X), "checkpoint").params["policy"]

    assert policy(None) is None
    assert policy(policies.everything_saveable) == "everything_saveable"
    assert policy(policies.save_only_these_names("s", "t")) == "save_only_these_names(s,t)"
    asked = policy(lambda prim, *_, **params: prim.name == "sin")
    graph = find(record(jax.checkpoint(body), X), "checkpoint").params["graph"]
    assert asked(find(graph, "name")) is False


# -- transformations of JAX inside -----------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jax.vmap(lambda v: jnp.sin(v) * v)(x),
        lambda x: jax.vmap(lambda v: lax.psum(v, "i"), axis_name="i")(x),
        lambda x: jax.jacobian(lambda v: v**2)(x),
        lambda x: jax.linearize(jnp.sin, x)[1](x),
        lambda x: jax.vjp(jnp.sin, x)[1](x)[0],
        lambda x: jax.linear_transpose(lambda v: v * 3, x)(x)[0],
        lambda x: jax.jvp(jax.nn.relu, (x,), (x,))[1],
        lambda x: jax.vmap(jax.grad(jax.nn.softplus))(x),
        lambda x: jax.eval_shape(jnp.sin, x).dtype.type(2) * x,
        lambda x: jax.lax.stop_gradient(x) * x,
        lambda x: jax.named_call(jnp.sin, name="s")(x),
        lambda x: jnp.vectorize(lambda a: a + 1, signature="()->()")(x),
        lambda x: jax.ensure_compile_time_eval() and x,
    ],
)
def test_transformations_of_jax_inside(f: Any) -> None:
    same(as_function(make_ir(f)(X))(X), f(jnp.asarray(X)))


def test_values_computed_at_once() -> None:
    def f(x: Any) -> Any:
        with jax.ensure_compile_time_eval():
            table = jnp.arange(3.0) * 2
            assert float(table[1]) == 2.0
            assert float(jax.nn.relu(table[1])) == 2.0
        return x * table

    graph = record(f, X)
    assert [e.primitive.name for e in graph.equations] == ["constant", "mul"]
    assert isinstance(graph.outputs[0], Value)
