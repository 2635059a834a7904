"""Loops, branches, calls and checkpoint under every pass: against JAX, and by their laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from control_programs import EVERY, W, X, linear_solve, while_counter
from laws import Checked, assert_close, check_all, interpret, made

import covector
from covector.ir.builder import Builder
from covector.ir.graph import Graph, Value, walk_graphs
from covector.ir.module import module_of
from covector.ir.ops.control import scan
from covector.passes.batch import batch_graph
from covector.passes.cse import cse_graph
from covector.passes.dce import dce_graph
from covector.passes.inline import inline_graph
from covector.passes.jvp import jvp_graph
from covector.passes.reverse import vjp_graph


@pytest.mark.parametrize(("function", "args"), EVERY, ids=lambda p: getattr(p, "__name__", ""))
def test_every_law(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    check_all(function, *args, jax_reverse=function is not while_counter)


def test_linear_solve() -> None:
    program = Checked(linear_solve, W, X)
    program.value()
    program.forward()
    program.reverse()
    program.batched([False, True])
    program.batched()


def test_a_function_called_often_is_transformed_once() -> None:
    layer = jax.jit(lambda w, x: jnp.tanh(w @ x))

    def f(w: Any, x: Any) -> Any:
        for _ in range(50):
            x = layer(w, x)
        return x

    graph = made(f, W, X).main
    for derived in (
        graph,
        jvp_graph(graph, (True, True))[0],
        vjp_graph(graph, (True, True)),
        batch_graph(graph, (False, True), 3)[0],
        dce_graph(vjp_graph(graph, (True, True)))[0],
    ):
        assert len(walk_graphs(derived)) <= 5
    assert str(module_of(graph)).count("tanh") == 1


def test_deep_nests() -> None:
    """Two hundred calls in each other, sixty-four scans."""

    def nest(depth: int, wrap: Callable[[Graph], Graph]) -> Graph:
        graph = made(lambda x: jnp.sin(x), 0.5).main
        for _ in range(depth):
            graph = wrap(graph)
        return graph

    def called(graph: Graph) -> Graph:
        b, x = Builder(), Value(graph.inputs[0].type, "x")
        return b.graph((x,), [b.mul(b.call(x, graph=graph), 0.99)], "f")

    def looped(graph: Graph) -> Graph:
        b, x = Builder(), Value(graph.inputs[0].type, "x")
        return b.graph((x,), b.emit(scan, x, graph=graph, num_carry=1, length=1), "f")

    for deep in (nest(200, called), nest(64, looped)):
        y = interpret(deep, 0.5)
        h = 1e-3
        slope = (interpret(deep, 0.5 + h)[0] - interpret(deep, 0.5 - h)[0]) / (2 * h)
        assert_close(interpret(jvp_graph(deep, (True,))[0], 0.5, 1.0), [y[0], slope], rtol=1e-2)
        assert_close(interpret(vjp_graph(deep, (True,)), 0.5, 1.0), [y[0], slope], rtol=1e-2)
        batched, _ = batch_graph(deep, (True,), 2)
        assert_close(interpret(batched, jnp.asarray([0.5, 0.5])), [jnp.stack([y[0], y[0]])])
        for clean in (dce_graph(deep)[0], cse_graph(deep), inline_graph(deep)):
            assert_close(interpret(clean, 0.5), y)


def unread(w: Any, x: Any) -> Any:
    """Of two outputs one is read, and of that a part has no derivative."""
    first = jax.lax.cond(
        x[0] > 0,
        lambda w, x: (jax.lax.stop_gradient(jnp.sin(w) @ x) + x * x, jnp.exp(w @ x)),
        lambda w, x: (jnp.sin(x), x),
        w, x,
    )  # fmt: skip
    return first[0]


def sharing(w: Any, x: Any) -> Any:
    """The operand that one branch keeps fits where the other keeps two results."""
    return jax.lax.cond(
        x[0] > 0, lambda w, x: x * jnp.sum(x * x), lambda w, x: jnp.sin(jnp.exp(x)), w, x
    )


def scanned(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda w, x: jax.lax.scan(lambda c, _: (function(w, c), None), x, None, length=4)[0]


@pytest.mark.parametrize("function", [unread, sharing, scanned(unread), scanned(sharing)])
def test_branches_keep_no_more_than_those_of_jax(function: Callable[..., Any]) -> None:
    def kept(api: Any) -> int:
        return sum({id(x): x.nbytes for x in jax.tree.leaves(api.vjp(function, W, X)[1])}.values())

    assert kept(covector) <= kept(jax)
