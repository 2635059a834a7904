"""How reductions over sliding windows transform.

The tangent of a windows' maximum is the tangent of the element that attains it
(select_and_gather_add), and transposed, a cotangent goes to that element (select_and_scatter_add).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, Value
from ...ir.ops import window as w
from ...ir.ops.control import scan
from ...ir.ops.window import Axes, Padding, dilate
from .. import tables
from ..batch import batch_graph
from ..jvp import jvp_graph
from ..tables import Operands, materialise_batch, unary_transpose
from .window_folds import scatter_unrolled, unrolled, worst_key

Batched = tuple[Operands, Sequence[bool]]

# -- sums ----------------------------------------------------------------------------------------


def padding_of_transpose(
    n: Axes, window: Axes, out: Axes, strides: Axes, padding: Padding,
    base_dilation: Axes, window_dilation: Axes,
) -> Padding:  # fmt: skip
    """How to pad the cotangent of a sliding sum, spread out by the strides, for its transpose.

    Output p reads inputs p stride + q - low, q in the window of span k. So input i is read by the
    outputs whose p stride lies in [i + low - k + 1, i + low]: a window of the same span that starts
    k - 1 - low before the first of them. What comes behind makes one window for each input.
    """
    result = []
    for i, (low, _) in enumerate(padding):
        span = dilate(window[i], window_dilation[i])
        before = span - 1 - low
        length = dilate(n[i], base_dilation[i]) + span - 1
        result.append((before, length - dilate(out[i], strides[i]) - before))
    return tuple(result)


@unary_transpose(w.reduce_window_sum)
def transpose_reduce_window_sum(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """Each input gets the sum of the cotangents of the windows that read it: a sliding sum."""
    p, shape = eqn.params, eqn.inputs[0].type.shape
    padding = padding_of_transpose(
        shape, p["window_dimensions"], ct.type.shape, p["window_strides"], p["padding"],
        p["base_dilation"], p["window_dilation"],
    )  # fmt: skip
    strides = p["window_strides"]
    config = tuple((low, high, s - 1) for (low, high), s in zip(padding, strides, strict=True))
    return b.reduce_window_sum(
        b.pad(ct, b.literal(0, ct.type), padding_config=config),
        window_dimensions=p["window_dimensions"],
        window_strides=p["base_dilation"],
        padding=((0, 0),) * len(shape),
        base_dilation=(1,) * len(shape),
        window_dilation=p["window_dilation"],
    )


# -- maxima and minima ---------------------------------------------------------------------------

SELECTS = {w.reduce_window_max: "ge", w.reduce_window_min: "le"}


@tables.jvp.rule(w.reduce_window_max, w.reduce_window_min)
def jvp_reduce_window_extremum(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    select = SELECTS[eqn.primitive]
    return b.emit(
        w.select_and_gather_add, tangents[0], eqn.inputs[0], select_prim=select, **eqn.params
    )


@unary_transpose(w.select_and_gather_add)
def transpose_select_and_gather_add(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    """Add each window's cotangent where its value was taken from.

    Keys that are spread out are first made so in full, with keys that are never taken between them.
    """
    keys, p = eqn.inputs[1], dict(eqn.params)
    base, spread = p.pop("base_dilation"), p.pop("window_dilation")
    if any(d != 1 for d in spread):
        return scatter_unrolled(b, eqn, ct)
    if any(d != 1 for d in base):
        config = tuple((0, 0, d - 1) for d in base)
        keys = b.pad(keys, worst_key(b, p["select_prim"], keys), padding_config=config)
    ct_values = b.select_and_scatter_add(ct, keys, **p)
    if all(d == 1 for d in base):
        return ct_values
    shape = ct_values.type.shape
    start = (0,) * len(shape)
    return b.slice(ct_values, start_indices=start, limit_indices=shape, strides=base)


@unary_transpose(w.select_and_scatter_add)
def transpose_select_and_scatter_add(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    ones = (1,) * ct.type.ndim
    return b.select_and_gather_add(
        ct, eqn.inputs[1], **eqn.params, base_dilation=ones, window_dilation=ones
    )


# -- any combiner --------------------------------------------------------------------------------


@tables.jvp.rule(w.reduce_window)
def jvp_reduce_window(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The tangent of the fold written out: as many steps as a window has elements, each on all
    windows at once. That program is linear in the tangents in the plain sense, so it transposes."""
    b.append(eqn)
    nonzero = [not isinstance(t, Zero) for t in tangents]
    folded = unrolled(eqn)
    forward, out_nonzero = jvp_graph(folded, nonzero)
    given = [t for t in tangents if not isinstance(t, Zero)]
    n = len(eqn.outputs)
    results = iter(b.inline(forward, (*eqn.inputs, *given))[n:])
    pairs = zip(out_nonzero, eqn.outputs, strict=True)
    return [next(results) if is_nonzero else Zero(v.type) for is_nonzero, v in pairs]


@tables.jvp.rule(w.select_and_scatter)
def jvp_select_and_scatter(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """Known where the scatter adds and the selection is of the largest or smallest: then
    z = init + select_and_scatter_add(source, x), and nothing depends smoothly on the selection."""
    p, z = dict(eqn.params), eqn.outputs[0].type
    select, scatter = only_operation(p.pop("select_graph")), only_operation(p.pop("scatter_graph"))
    if scatter != "add" or select not in ("ge", "le"):
        raise PassError(
            "select_and_scatter is differentiable if it selects by ge or le and scatters by add",
            eqn,
            stage="jvp",
        )
    b.append(eqn)
    _, dsource, dinit = tangents
    terms = []
    if not isinstance(dsource, Zero):
        terms.append(b.select_and_scatter_add(dsource, eqn.inputs[0], select_prim=select, **p))
    if not isinstance(dinit, Zero):
        terms.append(b.broadcast(dinit, z.shape, ()))
    return [b.sum_of(terms, z)]


def only_operation(graph: Graph) -> str | None:
    """The primitive that is all of a graph, applied to its inputs in order."""
    if len(graph.equations) != 1:
        return None
    (eqn,) = graph.equations
    is_plain = eqn.inputs == graph.inputs and eqn.outputs == graph.outputs
    return eqn.primitive.name if is_plain else None


# -- batch ---------------------------------------------------------------------------------------


def under_batch(params: dict[str, Any]) -> dict[str, Any]:
    """Window parameters with a batch axis in front, along which a window has one element."""
    wide = dict(params)
    for key in (*w.WINDOW, *w.DILATIONS):
        if key in wide:
            wide[key] = ((0, 0) if key == "padding" else 1, *wide[key])
    return wide


@tables.batch.rule(
    w.reduce_window_sum,
    w.reduce_window_max,
    w.reduce_window_min,
    w.select_and_gather_add,
    w.select_and_scatter_add,
)
def batch_windows(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    full = [materialise_batch(b, x, is_b, size) for x, is_b in zip(inputs, batched, strict=True)]
    return b.emit(eqn.primitive, *full, **under_batch(eqn.params)), (True,)


@tables.batch.rule(w.reduce_window)
def batch_reduce_window(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """Initial values that differ between examples need the fold written out."""
    n = len(eqn.outputs)
    if any(batched[n:]):
        graph, flags = batch_graph(unrolled(eqn), batched, size, (True,) * n)
        return b.inline(graph, inputs), flags
    operands = [
        materialise_batch(b, x, is_b, size) for x, is_b in zip(inputs[:n], batched[:n], strict=True)
    ]
    outputs = b.emit(w.reduce_window, *operands, *inputs[n:], **under_batch(eqn.params))
    return outputs, (True,) * n


def _one_by_one(b: Builder, eqn: Equation, stacked: Operands, size: int) -> Batched:
    """A loop over the examples, of which each has an initial value of its own."""
    inner, types = Builder(), [x.type.strong for x in eqn.inputs]
    values = [Value(t) for t in types]
    body = inner.graph(values, inner.emit(w.select_and_scatter, *values, **eqn.params), "example")
    return b.emit(scan, *stacked, graph=body, num_consts=0, num_carry=0, length=size), (True,)


@tables.batch.rule(w.select_and_scatter)
def batch_select_and_scatter(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    x = materialise_batch(b, inputs[0], batched[0], size)
    source = materialise_batch(b, inputs[1], batched[1], size)
    if batched[2]:
        return _one_by_one(b, eqn, (x, source, inputs[2]), size)
    return b.emit(w.select_and_scatter, x, source, inputs[2], **under_batch(eqn.params)), (True,)
