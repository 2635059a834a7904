"""Recording: the names and places of values."""

from __future__ import annotations

from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax import lax
from trace_helpers import X, find, named, record


def test_values_have_the_names_of_their_variables() -> None:
    def f(x: Any, w: Any) -> Any:
        h = jnp.dot(x, w)
        z1 = jnp.tanh(h + 1.0)
        mean = jnp.mean(z1)
        total: Any = z1 - mean
        total *= 3.0
        if (top := jnp.max(total)) is not None:
            total = total / top
        return total

    names = named(record(f, np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)))
    assert names["h"] == "dot_general"
    assert names["z1"] == "tanh"
    assert names["mean"] == "div"
    assert names["total"] in ("sub", "mul", "div")
    assert names["top"] == "reduce_max"


def test_only_the_whole_expression_is_named() -> None:
    def f(x: Any) -> Any:
        y = jnp.exp(jnp.sin(x) * 2)
        return jnp.cos(y)

    assert named(record(f, X)) == {"y": "exp"}


def test_unpacked_outputs_are_named_in_order() -> None:
    def f(x: Any) -> Any:
        a, b = jnp.split(x, [1])
        c, d = jnp.sin(a), jnp.cos(b)
        values, indices = lax.top_k(x, 2)
        return a, b, c, d, values, indices

    graph = record(f, X)
    assert [v.name for v in graph.outputs] == ["a", "b", "c", "d", "values", "indices"]


def test_a_returned_value_has_the_name_that_the_caller_gives_it() -> None:
    def layer(x: Any) -> Any:
        return jnp.tanh(x) * 2

    def pair(x: Any) -> Any:
        return jnp.sin(x), jnp.cos(x)

    def f(x: Any) -> Any:
        h1 = layer(x)
        h2 = layer(layer(h1))
        h3 = jax.vmap(lambda v: layer(v))(x)
        total, gradient = jax.value_and_grad(lambda v: jnp.sum(layer(v)))(h1)
        s, c = pair(h1)
        return h2, h3, total, gradient, s, c

    names = named(record(f, X))
    assert {name: names[name] for name in ("h1", "h2")} == {"h1": "mul", "h2": "mul"}
    assert not {"gradient", "s", "c", "total"} & set(names)


def test_derivatives_that_jax_makes_belong_to_their_operation() -> None:
    def f(x: Any) -> Any:
        def loss(v: Any) -> Any:
            return jnp.sum(jnp.tanh(v))

        return jax.grad(loss)(x)

    first = f.__code__.co_firstlineno
    lines = {e.location.line - first for e in record(f, X).equations if e.location}
    assert lines == {2}


def test_each_round_of_a_loop_is_named() -> None:
    def f(x: Any) -> Any:
        for _ in range(3):
            x = jnp.sin(x)
        return x

    assert [v.name for e in record(f, X).equations for v in e.outputs] == ["x"] * 3


def test_names_in_loop_bodies_and_jitted_functions() -> None:
    @jax.jit
    def helper(x: Any) -> Any:
        inner = jnp.sin(x)
        return inner * 2

    def f(x: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            grown = carry * 1.5
            return grown, None

        return lax.scan(step, helper(x), None, length=3)[0]

    graph = record(f, X)
    assert named(find(graph, "call").params["graph"])["inner"] == "sin"
    assert named(find(graph, "scan").params["graph"])["grown"] == "mul"


def test_places_are_the_users_lines() -> None:
    def f(x: Any) -> Any:
        y = jnp.where(x > 0, x, 0.0)
        return y + jnp.var(x)

    first = f.__code__.co_firstlineno
    graph = record(f, X)
    lines = [e.location.line - first for e in graph.equations if e.location]
    assert lines[0] == 1
    assert lines[-1] == 2
    assert set(lines) == {1, 2}
    place = graph.equations[0].location
    assert place is not None
    assert place.file.endswith("test_trace_names.py")
    assert place.column == 23


def test_library_functions_have_no_places_of_their_own() -> None:
    """A function that JAX traces once is called from many lines: its program names none of them."""

    def f(x: Any) -> Any:
        return jnp.var(x) + jnp.var(x * 2)

    graph = record(f, X)
    callees = [e.params["graph"] for e in graph.equations if e.primitive.name == "call"]
    assert len(callees) == 2
    assert callees[0] is callees[1]
    assert all(e.location is None for e in callees[0].equations)
