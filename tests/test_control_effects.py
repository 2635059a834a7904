"""Effects keep their number and place under every pass."""

from __future__ import annotations

from control_programs import primitives
from laws import assert_close, interpret

from covector.ir.builder import Builder
from covector.ir.graph import Value, walk_graphs
from covector.ir.ops.call import checkpoint
from covector.ir.ops.control import cond, scan
from covector.ir.types import FLOAT32, INT32, TensorType
from covector.passes.batch import batch_graph
from covector.passes.cse import cse_graph
from covector.passes.dce import dce_graph
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph


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
    separate, _ = batch_graph(graph, (True, False), 2)
    (only,) = [
        r for r in walk_graphs(separate) if [e.primitive.name for e in r.equations] == ["dce_sink"]
    ]
    assert not only.outputs  # a branch for the examples that are there


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
