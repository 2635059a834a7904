"""custom_jvp functions under every pass; rules as graphs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from custom_programs import X, Y, clipped, primitives, scaled_sin
from laws import Checked, assert_close, interpret, made

import covector
from covector import parse
from covector.ir.errors import CovectorError, PassError
from covector.ir.graph import Graph, Thunk
from covector.ir.module import module_of
from covector.passes import run_passes
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph


def under_scan(x: Any, y: Any) -> Any:
    return jax.lax.scan(lambda c, a: (scaled_sin(c, y) + a, c), x, jnp.stack([x, y]))


def under_everything(x: Any, y: Any) -> Any:
    @jax.checkpoint
    def f(x: Any, y: Any) -> Any:
        rows = jax.vmap(scaled_sin, in_axes=(0, None))(jnp.stack([x, y]), y).sum(0)
        return jax.lax.cond(x[0] > 0, lambda: scaled_sin(rows, x), lambda: rows)

    return jax.jit(f)(x, y)


@pytest.mark.parametrize("function", [scaled_sin, under_scan, under_everything])
def test_custom_jvp(function: Any) -> None:
    program = Checked(function, X, Y)
    program.value()
    program.forward()
    program.reverse()
    program.adjoint()
    if function is not under_scan:  # where JAX loses the rule in second derivatives
        program.forward_over_reverse()
    program.batched()
    program.batched([True, False])
    program.batched([False, True])
    program.reverse_over_batch()
    program.cleaned()


def test_rules_are_differentiated_again() -> None:
    """The rule's own derivative: 7 cos(x) y differentiates to -7 sin(x) y."""
    graph = made(scaled_sin, 0.4, 2.0).main
    once, _ = jvp_graph(graph, (True, False))
    twice, nonzero = jvp_graph(once, (True, False, False))
    got = interpret(twice, 0.4, 2.0, 1.0, 1.0)
    assert nonzero == (True, True)
    assert_close(got[-1], -7.0 * jnp.sin(0.4) * 2.0)


def test_rules_in_loops_are_differentiated_again() -> None:
    """A loop has the second derivatives of the same loop written out, rule included."""

    def unrolled(x: Any, y: Any) -> Any:
        c = scaled_sin(x, y) + x
        return scaled_sin(c, y) + y

    loop = vjp_graph(made(lambda x, y: under_scan(x, y)[0], X, Y).main, (True, True))
    straight = vjp_graph(made(unrolled, X, Y).main, (True, True))
    flags = (True, True, False)
    got, want = (interpret(jvp_graph(g, flags)[0], X, Y, X, X, Y) for g in (loop, straight))
    assert_close(got, want)


def test_rules_stay_until_a_derivative_asks() -> None:
    module = run_passes(made(jax.vmap(scaled_sin), X[:, None], Y[:, None]), "cse,fold,dce,batch")
    assert primitives(module.main).count("custom_jvp_call") == 1
    assert "jvp=<" in str(module) or "thunk" in str(module)
    forward, _ = jvp_graph(module.main, (True, True))
    assert [eqn.primitive.name for eqn in forward.equations] == ["call"]


def test_symbolic_zeros_reach_the_rule() -> None:
    seen: list[tuple[bool, ...]] = []

    @jax.custom_jvp
    def f(x: Any, y: Any) -> Any:
        return x * y, x + 1.0

    def rule(primals: Any, tangents: Any) -> Any:
        zeros = tuple(isinstance(t, jax.custom_derivatives.SymbolicZero) for t in tangents)
        seen.append(zeros)
        (x, y), (dx, _) = primals, tangents
        return (x * y, x + 1.0), (dx * y, jax.custom_derivatives.SymbolicZero(dx.aval))

    f.defjvp(rule, symbolic_zeros=True)
    graph, nonzero = jvp_graph(made(f, 2.0, 3.0).main, (True, False))
    assert seen == [(False, True)]
    assert nonzero == (True, False)
    assert_close(interpret(graph, 2.0, 3.0, 1.0), [6.0, 3.0, 3.0])


def test_zeros_are_instantiated_without_symbolic_zeros() -> None:
    signatures: list[Any] = []
    graph = made(scaled_sin, X, Y).main
    (eqn,) = [e for e in graph.equations if e.primitive.name == "custom_jvp_call"]
    rule = eqn.params["jvp"]
    counting = Thunk("counting", lambda *key: signatures.append(key) or rule(*key))
    graph = graph.with_equations([eqn.replace(params={**eqn.params, "jvp": counting})])
    for flags in ((True, False), (False, True), (True, True)):
        jvp_graph(graph, flags)
    assert signatures == [((True, True),)]


def test_unused_outputs_are_dropped_from_the_rule() -> None:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x), jnp.cosh(x)

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x,), (dx,) = primals, tangents
        return (jnp.sin(x), jnp.cosh(x)), (dx * 3.0, jnp.sinh(x) * dx)

    module = run_passes(made(lambda x: f(x)[0], 0.5), "dce")
    assert "cosh" not in primitives(module.main)
    forward, _ = jvp_graph(module.main, (True,))
    assert "sinh" not in primitives(forward)
    assert_close(interpret(forward, 0.5, 1.0), [jnp.sin(0.5), 3.0])


def test_a_rule_that_is_not_linear_says_where() -> None:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return x * 2.0

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        return f(primals[0]), jnp.sin(tangents[0])

    graph = made(f, 0.5).main
    with pytest.raises(CovectorError, match=r"sin .*linear|sin has no transpose") as caught:
        vjp_graph(graph, (True,))
    assert "test_custom_jvp.py" in str(caught.value)

    @jax.custom_jvp
    def g(x: Any) -> Any:
        return x * 2.0

    @g.defjvp
    def square_rule(primals: Any, tangents: Any) -> Any:
        return g(primals[0]), tangents[0] * tangents[0]

    with pytest.raises(CovectorError, match="linear") as caught:
        vjp_graph(made(g, 0.5).main, (True,))
    assert "test_custom_jvp.py" in str(caught.value)


def test_a_rule_of_wrong_types_is_an_error() -> None:
    graph = made(scaled_sin, X, Y).main
    (eqn,) = [e for e in graph.equations if e.primitive.name == "custom_jvp_call"]
    wrong = Thunk(
        "wrong", lambda flags: (made(lambda a, b, c, d: (a, c[0]), X, Y, X, Y).main, (True,))
    )
    broken = graph.with_equations([eqn.replace(params={**eqn.params, "jvp": wrong})])
    with pytest.raises(PassError, match=r"jvp rule of @scaled_sin returns .*f32\[3\], f32\[\]"):
        jvp_graph(broken, (True, True))


def test_closed_over_values_have_no_derivative() -> None:
    def f(w: Any, x: Any) -> Any:
        @jax.custom_jvp
        def g(x: Any) -> Any:
            return x * w

        g.defjvp(lambda p, t: (p[0] * w, t[0] * w))
        return g(x)

    graph = made(f, 2.0, 3.0).main
    assert_close(interpret(jvp_graph(graph, (False, True))[0], 2.0, 3.0, 1.0), [6.0, 2.0])
    with pytest.raises(PassError, match="closes over"):
        jvp_graph(graph, (True, True))


def test_rules_as_graphs() -> None:
    """Rules may be graphs instead of thunks, and are then printed and read back."""
    graph = made(scaled_sin, X, Y).main
    (eqn,) = graph.equations
    rule, _ = eqn.params["jvp"]((True, True))
    with_graph = graph.with_equations([eqn.replace(params={**eqn.params, "jvp": rule})])
    dx, dy = Y, X
    want = interpret(jvp_graph(graph, (True, True))[0], X, Y, dx, dy)
    assert_close(interpret(jvp_graph(with_graph, (True, True))[0], X, Y, dx, dy), want)
    batched, _ = batch_graph(with_graph, (True, False), 2)
    rows = jnp.stack([X, Y])
    want = jax.jvp(jax.vmap(scaled_sin, in_axes=(0, None)), (rows, Y), (rows, X))
    got = interpret(jvp_graph(batched, (True, True))[0], rows, Y, rows, X)
    assert_close(got, want)


def test_materialize_makes_graphs_of_rules() -> None:
    module = made(lambda x, y: scaled_sin(clipped(x, y), y), X, Y)
    whole = run_passes(module, "materialize")
    text = str(whole)
    again = parse(text)
    assert str(again) == text
    for program in (whole, again):
        flags = (True, True)
        want = interpret(vjp_graph(module.main, flags), X, Y, X)
        assert_close(interpret(vjp_graph(program.main, flags), X, Y, X), want)
    linear = linearize_graph(made(clipped, X, Y).main, (True, False)).linear
    shown = run_passes(module_of(linear), "materialize").main
    assert isinstance(shown.equations[-1].params["bwd"], Graph)


@jax.custom_jvp
def doubled(x: Any) -> Any:
    return x * 2.0


doubled.defjvp(lambda xs, dxs: (jnp.float32(2.0) * xs[0], dxs[0] * 2.0))


@pytest.mark.parametrize("function", [doubled, jax.jit(doubled), jnp.linalg.det])
def test_primals_are_as_weakly_typed_as_the_rule_returns_them(function: Any) -> None:
    """The function returns a weakly typed number, its rule a strongly typed one."""
    x = jnp.broadcast_to(2.0, (3, 3) if function is jnp.linalg.det else ())
    assert covector.jit(function)(x).weak_type == function(x).weak_type
    for transform in (
        lambda api: api.jvp(function, (x,), (x,))[0],
        lambda api: api.vjp(function, x)[0],
        lambda api: api.linearize(function, x)[0],
        lambda api: api.jit(lambda x: api.vjp(function, x)[0])(x),
        lambda api: api.jvp(lambda x: api.vjp(function, x)[0], (x,), (x,))[0],
    ):
        assert transform(covector).weak_type == transform(jax).weak_type
