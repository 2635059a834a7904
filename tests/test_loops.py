"""What the passes make of loops and branches."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from control_programs import (
    XS,
    W,
    X,
    find,
    primitives,
    scan_integer_carry,
    scan_invariant,
    scan_late_tangent,
    scan_no_xs,
    scan_rnn,
)
from jax import lax
from laws import Checked, assert_close, interpret, made

import covector
from covector.passes import run_passes
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph


def test_what_every_iteration_computes_alike_is_not_stacked() -> None:
    parts = linearize_graph(made(scan_invariant, W, X).main, (True, True))
    (loop,) = find(parts.primal, "scan")
    stacks = [v.type.shape for v in loop.outputs if v.type.ndim == 3]
    assert stacks == []
    (linear_loop,) = find(parts.linear, "scan")
    n_consts = linear_loop.params["num_consts"]
    assert (3, 3) in [x.type.shape for x in linear_loop.inputs[:n_consts]]


def test_only_what_carries_tangents_is_in_the_linear_loop() -> None:
    parts = linearize_graph(made(scan_integer_carry, X, XS).main, (True, True))
    (loop,) = find(parts.linear, "scan")
    assert loop.params["num_carry"] == 1
    assert all(x.type.dtype.name == "float32" for x in loop.inputs)
    backward = vjp_graph(made(scan_rnn, W, X, XS).main, (False, True, False))
    (loop,) = [e for e in find(backward, "scan") if e.params["reverse"]]
    assert loop.params["num_carry"] == 1  # no sum for the cotangent of w


def test_tangents_that_arrive_late() -> None:
    """The carry (p, q, r): r's tangent is q's an iteration later, and p's after another."""
    graph = made(scan_late_tangent, X, XS).main
    forward, nonzero = jvp_graph(graph, (True, False))
    (loop,) = find(forward, "scan")
    assert nonzero == (True, True, True, False, True)
    assert loop.params["num_carry"] == 4 + 3


def test_zero_tangents_stay_zero() -> None:
    graph = made(lambda x, y: (scan_no_xs(x)[0], jnp.round(y)), X, X).main
    assert jvp_graph(graph, (False, True))[1] == (False, False)
    assert find(jvp_graph(graph, (False, True))[0], "scan")[0].params["num_carry"] == 1


def test_a_loop_that_states_its_count_becomes_a_scan() -> None:
    for start, comparison, step, count in (
        (0, lambda i: i < 5, 1, 5),
        (0, lambda i: lax.ge(6, i), 2, 4),
        (9, lambda i: i > 2, -3, 3),
        (7, lambda i: i < 5, 1, 0),
    ):

        def loop(x: Any, start: Any = start, test: Any = comparison, step: Any = step) -> Any:
            return lax.while_loop(
                lambda c: test(c[0]), lambda c: (c[0] + step, jnp.sin(c[1])), (start, x)
            )

        graph = made(loop, X).main
        (scan,) = find(vjp_graph(graph, (True,)), "scan")[:1]
        assert scan.params["length"] == count
        assert_close(interpret(graph, X), list(loop(X)))


def dynamic(x: Any, n: Any) -> Any:
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.sin(c[1]) * x), (0, x))[1]


def test_while_of_unknown_length() -> None:
    program = Checked(dynamic, X, 3)
    program.value()
    program.forward()
    program.batched()
    program.batched([True, False])
    program.cleaned()
    parts = linearize_graph(program.graph, (True, False))
    got = interpret(parts.primal, X, 3)
    tangent = interpret(parts.linear, *got[1:], jnp.ones(3))
    assert_close(tangent, [jax.jvp(lambda x: dynamic(x, 3), (X,), (jnp.ones(3),))[1]])
    (again,) = find(parts.linear, "replay")  # n | c | the carry at the start | its tangent
    (rewound,) = find(vjp_graph(program.graph, (True, False)), "rewind")
    assert again.params["num_state"] == rewound.params["num_state"]


def test_tangents_that_no_iteration_changes_are_not_carried() -> None:
    module = covector.parse("""
    module @f {
      func @test(n: i32[], i: i32[], x: f32[3], y: f32[3], z: f32[3]) -> (bool[]) {
        t: bool[] = lt i n
        return t }
      func @body(k: f32[3], i: i32[], x: f32[3], y: f32[3], z: f32[3])
          -> (i32[], f32[3], f32[3], f32[3]) {
        j: i32[] = add i 1:i32[]
        w: f32[3] = add y k
        v: f32[3] = sin z
        return j, x, w, v }
      func @main(n: i32[], x: f32[3], y: f32[3], z: f32[3]) -> (f32[3], f32[3], f32[3]) {
        i: i32[], a: f32[3], b: f32[3], c: f32[3] = while[
          cond_graph=@test, body_graph=@body, cond_nconsts=1, body_nconsts=1] n x 0:i32[] x y z
        p: f32[3] = mul a b
        return p, b, c }
    }""").verify()
    main = module.graphs["main"]
    forward, nonzero = jvp_graph(main, (False, True, True, False))
    (loop,) = find(forward, "while")
    assert nonzero == (True, True, False)
    assert len(loop.outputs) == 4 + 1  # k's tangent, x's, is added to that of y
    backward = vjp_graph(main, (False, False, True, False))
    assert [len(e.outputs) for e in find(backward, "while")] == [4]
    one = jnp.ones(3)
    outputs = interpret(backward, 3, X, X + 1, X, one, one * 2, one)
    assert_close(outputs[-1], X + 2)
    (rewound,) = find(vjp_graph(main, (False, True, True, False)), "rewind")
    assert rewound.params["num_state"] == 0


def test_effects_of_a_dynamic_loop_happen_in_its_known_half(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def f(x: Any, n: Any) -> Any:
        def body(c: Any) -> Any:
            i, y, z = c
            jax.debug.print("{i}", i=i)
            return i + 1, y * 2.0, z + 1.5

        _, y, z = lax.while_loop(lambda c: c[0] < n, body, (0, x, 0.0))
        return y * z

    parts = linearize_graph(made(f, 1.0, 3).main, (True, False))
    y, *residuals = interpret(parts.primal, 1.0, 3)
    (dy,) = interpret(parts.linear, *residuals, 1.0)
    jax.effects_barrier()
    assert (y, dy) == (36.0, 36.0)
    assert capfd.readouterr().out.split() == ["0", "1", "2"]


def test_one_condition_for_all_examples_is_a_while_of_batches() -> None:
    graph = made(dynamic, X, 3).main
    together, _ = batch_graph(graph, (True, False), 4)
    assert "select_n" not in primitives(together)
    (loop,) = find(together, "while")
    assert loop.outputs[0].type.shape == ()
    separate, _ = batch_graph(graph, (False, True), 4)
    assert "select_n" in primitives(separate)
    counts = jnp.asarray([0, 3, 1, 5])
    want = [dynamic(X, n) for n in counts]
    assert_close(interpret(separate, X, counts), [jnp.stack(want)])


def test_a_batched_index_becomes_select_only_where_it_must() -> None:
    def choose(i: Any, x: Any, y: Any) -> Any:
        return lax.switch(i, [lambda: (x * 2.0, y), lambda: (x + y, y)])

    graph = made(choose, 1, X, X).main
    stays, _ = batch_graph(graph, (False, True, True), 2)
    assert find(stays, "cond")
    assert "select_n" not in primitives(stays)
    selects, batched = batch_graph(graph, (True, False, False), 2)
    assert not find(selects, "cond")
    assert len(find(selects, "select_n")) == 1
    assert batched == (True, False)


def test_dce_of_loops() -> None:
    def f(w: Any, h: Any, xs: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            a, b, n = c
            return (jnp.sin(a), b * a + w[0, 0], n + 1), (a * x[0], b * x[1])

        return lax.scan(step, (h, h, 0), (xs[:, 0], xs[:, 1]))

    clean = run_passes(made(lambda *a: f(*a)[0][0], W, X, XS), "dce").main
    (loop,) = find(clean, "scan")
    assert (loop.params["num_consts"], loop.params["num_carry"], len(loop.inputs)) == (0, 1, 1)
    assert primitives(loop.params["graph"]) == ["sin"]
    clean = run_passes(made(lambda *a: f(*a)[1][1], W, X, XS), "dce").main
    (loop,) = find(clean, "scan")
    assert (loop.params["num_consts"], loop.params["num_carry"], len(loop.inputs)) == (1, 2, 4)


def test_dce_of_while_cond_and_calls() -> None:
    def f(x: Any, y: Any) -> Any:
        def body(c: Any) -> Any:
            i, _, b, d = c
            return i + 1, jnp.sin(b), b * 2.0, jnp.cos(d) * y

        loop = lax.while_loop(lambda c: c[2].sum() < 5.0, body, (0, x, x, x))
        branch = lax.cond(x[0] > 0, lambda: (x * y, jnp.exp(x)), lambda: (y, x))
        return loop[1] + jax.jit(lambda a, b: (a[0] + 1.0, jnp.tan(b)))(branch, y)[0]

    clean = run_passes(made(f, X, X), "dce").main
    assert {"cos", "exp", "tan"}.isdisjoint(primitives(clean))
    (loop,) = find(clean, "while")
    assert len(loop.outputs) == 2
    assert_close(interpret(clean, X, X), [f(X, X)])


def test_what_reads_no_value_is_no_residual() -> None:
    """A mask made of counts stands in both halves: it costs less to make than to keep."""

    def f(x: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            mask = jnp.arange(3)[:, None] >= jnp.arange(3)
            return jnp.where(mask, c @ c, 0.5 * c), None

        return jax.lax.scan(step, x, None, length=4)[0].sum()

    module = covector.run_passes(covector.make_ir(f)(jnp.eye(3)), "linearize,transpose,cse,dce")
    primal = next(iter(module.graphs.values()))
    stacked = [v.type for e in primal.equations if e.primitive.name == "scan" for v in e.outputs]
    assert not [t for t in stacked if t.dtype == bool]
