"""Loops, branches, calls and checkpoint under every pass: against JAX, and by their laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax._src.ad_checkpoint import saved_residuals  # public only as something that prints
from jax.ad_checkpoint import checkpoint_name
from laws import Checked, assert_close, check_all, interpret, made

from covector.ir.builder import Builder
from covector.ir.errors import PassError
from covector.ir.graph import Equation, Graph, Value, walk_graphs
from covector.ir.module import module_of
from covector.ir.ops.call import checkpoint
from covector.ir.ops.control import cond, scan
from covector.ir.types import FLOAT32, INT32, TensorType
from covector.passes import run_passes
from covector.passes.batch import batch_graph
from covector.passes.cse import cse_graph
from covector.passes.dce import dce_graph
from covector.passes.inline import inline_graph
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph

X = jnp.asarray([0.3, -0.7, 1.1])
W = jnp.asarray([[0.2, -0.4, 0.1], [0.5, 0.3, -0.2], [0.1, 0.6, 0.4]])
XS = jnp.asarray([[0.1, 0.5, -0.3], [0.7, -0.2, 0.4], [-0.6, 0.8, 0.2], [0.3, 0.3, -0.9]])


# -- programs ------------------------------------------------------------------------------------


def scan_rnn(w: Any, h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(w @ h + x)
        return h, h * x

    return lax.scan(step, h, xs)


def scan_reverse(w: Any, h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        return jnp.sin(h) * x + w[0], h

    return lax.scan(step, h, xs, reverse=True, unroll=2)


def scan_no_carry(xs: Any) -> Any:
    return lax.scan(lambda c, x: (c, jnp.cos(x)), (), xs)[1]


def scan_no_xs(h: Any) -> Any:
    return lax.scan(lambda c, _: (jnp.sin(c), c[0]), h, None, length=3)


def scan_zero_length(h: Any) -> Any:
    return lax.scan(lambda c, x: (jnp.sin(c) * x, c), h, jnp.zeros((0, 3)))


def scan_integer_carry(h: Any, xs: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        i, h = c
        return (i + 1, h * x + i), (i, h)

    return lax.scan(step, (0, h), xs)


def scan_late_tangent(a: Any, xs: Any) -> Any:
    """The tangent of xs reaches the first carry two iterations later, a's reaches none but one."""

    def step(c: Any, x: Any) -> Any:
        p, q, r, n = c
        return (jnp.sin(q), r * 2.0, x[0] * x[1], n + 1.0), p + n

    return lax.scan(step, (1.0, 2.0, a[0], 0.5), xs)


def scan_invariant(w: Any, h: Any) -> Any:
    """Residuals that every iteration would compute alike."""

    def step(h: Any, _: Any) -> Any:
        scale = jnp.cos(w) * 2.0
        return jnp.tanh(scale @ h), jnp.sum(scale)

    return lax.scan(step, h, None, length=3)


def nested_scan(w: Any, h: Any, xs: Any) -> Any:
    def outer(h: Any, x: Any) -> Any:
        def inner(g: Any, y: Any) -> Any:
            g = jnp.tanh(g * y + w[0])
            return g, g * h

        g, ys = lax.scan(inner, h, x[:, None] * w)
        return g + x, ys.sum(0)

    return lax.scan(outer, h, xs)


def cond_simple(x: Any, y: Any) -> Any:
    return lax.cond(x.sum() > 0, lambda x, y: (jnp.sin(x) * y, y), lambda x, y: (x, x * y), x, y)


def cond_one_constant(x: Any) -> Any:
    return lax.cond(x[0] > 0, lambda x: jnp.zeros(3), lambda x: jnp.exp(x), x)


def switch(i: Any, x: Any) -> Any:
    return lax.switch(i, [jnp.sin, lambda x: x**2 * jnp.exp(x), lambda x: jnp.ones(3) * 2.0], x)


def scan_of_cond(h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = lax.cond(x[0] > 0, lambda h: jnp.sin(h) * x, lambda h: h * jnp.exp(h), h)
        return h, h.sum()

    return lax.scan(step, h, xs)


def jitted(w: Any, x: Any) -> Any:
    @jax.jit
    def layer(w: Any, x: Any) -> Any:
        return jnp.tanh(w @ x), x.sum()

    for _ in range(3):
        x, s = layer(w, x)
    return x * s


def fori_static(w: Any, x: Any) -> Any:
    return lax.fori_loop(0, 4, lambda i, x: jnp.tanh(w @ x) * (i + 1.0), x)


def while_counter(w: Any, x: Any) -> Any:
    def body(c: Any) -> Any:
        i, x = c
        return i + 2, jnp.sin(w @ x)

    return lax.while_loop(lambda c: c[0] <= 5, body, (0, x))


def checkpointed(w: Any, x: Any) -> Any:
    @jax.checkpoint
    def layer(w: Any, x: Any) -> Any:
        return jnp.sin(jnp.tanh(w @ x) * x)

    return layer(w, layer(w, x))


def checkpointed_dots(w: Any, x: Any) -> Any:
    def layer(w: Any, x: Any) -> Any:
        return jnp.sin(w @ jnp.tanh(w @ x))

    saving = jax.checkpoint(layer, policy=jax.checkpoint_policies.dots_saveable)
    return saving(w, x)


def checkpointed_scan(w: Any, h: Any, xs: Any) -> Any:
    @jax.checkpoint
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(w @ h + x)
        return h, h * x

    return jax.checkpoint(lambda h: lax.scan(step, h, xs))(h)


def linear_solve(w: Any, x: Any) -> Any:
    a = jnp.eye(3) * 3.0 + w
    return lax.custom_linear_solve(
        lambda v: a @ v,
        x,
        solve=lambda _, b: jnp.linalg.inv(a) @ b,
        transpose_solve=lambda _, b: jnp.linalg.inv(a).T @ b,
    )


EVERY: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (scan_rnn, (W, X, XS)),
    (scan_reverse, (W, X, XS)),
    (scan_no_carry, (XS,)),
    (scan_no_xs, (X,)),
    (scan_zero_length, (X,)),
    (scan_integer_carry, (X, XS)),
    (scan_late_tangent, (X, XS)),
    (scan_invariant, (W, X)),
    (nested_scan, (W, X, XS)),
    (cond_simple, (X, X + 1)),
    (cond_simple, (-X, X + 1)),
    (cond_one_constant, (X,)),
    (switch, (1, X)),
    (switch, (2, X)),
    (scan_of_cond, (X, XS)),
    (jitted, (W, X)),
    (fori_static, (W, X)),
    (while_counter, (W, X)),
    (checkpointed, (W, X)),
    (checkpointed_dots, (W, X)),
    (checkpointed_scan, (W, X, XS)),
]


@pytest.mark.parametrize(("function", "args"), EVERY, ids=lambda p: getattr(p, "__name__", ""))
def test_every_law(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    check_all(function, *args, jax_reverse=function is not while_counter)


# -- what the passes make of loops -----------------------------------------------------------------


def primitives(graph: Graph) -> list[str]:
    return [eqn.primitive.name for g in walk_graphs(graph) for eqn in g.equations]


def find(graph: Graph, name: str) -> list[Equation]:
    return [eqn for eqn in graph.equations if eqn.primitive.name == name]


def residual_bytes(function: Callable[..., Any], *args: Any) -> int:
    """The bytes that the primal half hands to the linear half, inputs of the program aside."""
    graph = made(function, *args).main
    parts = linearize_graph(graph, [True] * len(args))
    return sum(r.type.nbytes for r in set(parts.residuals) - set(graph.inputs))


def jax_residual_bytes(function: Callable[..., Any], *args: Any) -> int:
    saved = saved_residuals(lambda *xs: jax.tree.leaves(function(*xs)), *args)
    return sum(aval.size * aval.dtype.itemsize for aval, why in saved if "argument" not in why)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (scan_rnn, (W, X, XS)),
        (scan_reverse, (W, X, XS)),
        (scan_invariant, (W, X)),
        (nested_scan, (W, X, XS)),
        (scan_of_cond, (X, XS)),
        (checkpointed_scan, (W, X, XS)),
    ],
)
def test_no_more_is_saved_than_jax_saves(function: Any, args: tuple[Any, ...]) -> None:
    assert residual_bytes(function, *args) <= jax_residual_bytes(function, *args)


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
    with pytest.raises(PassError, match="while has no reverse mode") as caught:
        vjp_graph(program.graph, (True, False))
    assert "test_control.py" in str(caught.value)
    assert "fori_loop or scan" in str(caught.value)


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


def test_effects_keep_their_number_and_place() -> None:
    """An effect in one branch, in a loop: there in every derived program, once."""
    f32, i32 = TensorType((), FLOAT32), TensorType((), INT32)
    x = Value(f32, "x")
    b = Builder()
    b.dce_sink(x)
    loud = b.graph((x,), [b.sin(x)], "loud")
    b = Builder()
    quiet = b.graph((x,), [b.mul(x, 2.0)], "quiet")
    b, index = Builder(), Value(i32, "i")
    body = b.graph((index, x), b.emit(cond, index, x, branches=(quiet, loud)), "body")
    b, start = Builder(), Value(f32, "start")
    outputs = b.emit(scan, index, start, graph=body, num_consts=1, num_carry=1, length=3)
    graph = b.graph((index, start), outputs)
    derived = [
        graph,
        jvp_graph(graph, (False, True))[0],
        linearize_graph(graph, (False, True)).primal,
        vjp_graph(graph, (False, True)),
        batch_graph(graph, (False, True), 2)[0],
        dce_graph(graph)[0],
        dce_graph(graph, (False,))[0],
        cse_graph(graph),
    ]
    for g in derived:
        assert primitives(g).count("dce_sink") == 1, g
        (branch,) = [
            r for r in walk_graphs(g) if "dce_sink" in primitives(r) and len(walk_graphs(r)) == 1
        ]
        assert "sin" in primitives(branch) or not dce_graph(branch)[0].outputs
    assert "dce_sink" not in primitives(linearize_graph(graph, (False, True)).linear)
    with pytest.raises(PassError, match="effects"):
        batch_graph(graph, (True, False), 2)


def test_effects_are_not_repeated_by_checkpoint() -> None:
    x, h = Value(TensorType((), FLOAT32), "x"), Value(TensorType((), FLOAT32), "h")
    b = Builder()
    y = b.sin(h)
    b.dce_sink(y)
    body = b.graph((h,), [b.mul(y, h)], "body")
    b = Builder()
    z = b.exp(x)
    b.dce_sink(z)
    inner = b.graph((x,), b.emit(scan, z, graph=body, num_carry=1, length=3), "inner")
    b = Builder()
    graph = b.graph((x,), b.emit(checkpoint, x, graph=inner), "f")
    backward = vjp_graph(graph, (True,))
    assert primitives(backward).count("dce_sink") == 2
    assert_close(interpret(backward, 0.5, 1.0)[0], interpret(graph, 0.5)[0])
    h = 1e-3
    slope = (interpret(graph, 0.5 + h)[0] - interpret(graph, 0.5 - h)[0]) / (2 * h)
    assert_close(interpret(backward, 0.5, 1.0)[1], slope, rtol=1e-2)


# -- dead code -----------------------------------------------------------------------------------


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


# -- sharing and depth ----------------------------------------------------------------------------


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


# -- checkpoint ----------------------------------------------------------------------------------


def test_checkpoint_saves_its_inputs_only() -> None:
    parts = linearize_graph(made(checkpointed, W, X).main, (True, True))
    again = find(parts.linear, "checkpoint")
    assert [eqn.params["differentiated"] for eqn in again] == [True, True]
    assert {r.type.shape for r in parts.residuals} == {(3, 3), (3,)}
    assert len(parts.residuals) == 3  # w, x, and the first layer's output
    saving = linearize_graph(made(checkpointed_dots, W, X).main, (True, True))
    assert len(saving.residuals) == 4  # w, x, and the two products


def test_policies_by_name() -> None:
    def f(x: Any) -> Any:
        y = checkpoint_name(jnp.sin(x), "y")
        z = checkpoint_name(jnp.exp(y), "z")
        return jnp.tanh(z) * jnp.cos(y)

    counts = {}
    for policy in ("nothing_saveable", "everything_saveable", "save_only_these_names(y)"):
        title, _, names = policy.partition("(")
        chosen = getattr(jax.checkpoint_policies, title)
        chosen = chosen(names.removesuffix(")")) if names else chosen
        graph = made(jax.checkpoint(f, policy=chosen), X).main
        if not names:
            assert find(graph, "checkpoint")[0].params["policy"] == policy
        parts = linearize_graph(graph, (True,))
        counts[policy] = len(parts.residuals)
        check_all(jax.checkpoint(f, policy=chosen), X)
    assert counts["nothing_saveable"] == 1
    assert counts["save_only_these_names(y)"] == 2
    assert counts["everything_saveable"] > 2


def test_policies_look_into_loops() -> None:
    """What is saved of each iteration is stacked; the second loop reads it."""

    def f(w: Any, h: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            def inner(g: Any, y: Any) -> Any:
                return jnp.sin(jnp.cos(w @ g) + y), ()

            h = jnp.tanh(w @ h + x)
            return lax.scan(inner, h, w)[0], h.sum()

        return lax.scan(step, h, xs)

    saving = jax.checkpoint(f, policy=jax.checkpoint_policies.dots_saveable)
    assert residual_bytes(saving, W, X, XS) == (4 * 3 + 4 * 3 * 3) * 4
    assert residual_bytes(saving, W, X, XS) <= jax_residual_bytes(saving, W, X, XS)
    check_all(saving, W, X, XS)
    parts = linearize_graph(made(saving, W, X, XS).main, (True, True, True))
    again = [g for g in walk_graphs(parts.linear) if find(g, "tanh")]
    assert again
    assert not any(e.inputs[0].type.shape == (3, 3) for g in again for e in find(g, "dot_general"))


def test_an_unknown_policy_is_an_error() -> None:
    graph = made(checkpointed, W, X).main
    eqn = find(graph, "checkpoint")[0]
    wrong = eqn.replace(params={**eqn.params, "policy": "dots_savable"})
    with pytest.raises(PassError, match="no checkpoint policy 'dots_savable'") as caught:
        vjp_graph(Graph(graph.inputs, [wrong], wrong.outputs), (True, True))
    assert "dots_saveable" in str(caught.value)


# -- linear solves ---------------------------------------------------------------------------------


def test_linear_solve() -> None:
    program = Checked(linear_solve, W, X)
    program.value()
    program.forward()
    program.reverse()
    program.batched([False, True])
    program.batched()
