"""Derivatives and batching of reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation, Graph
from ...ir.ops import reduction as r
from .. import tables
from ..batch import batch_graph
from ..jvp import jvp_graph
from ..tables import Operands, materialise_batch, unary_transpose
from .elementwise import as_weak, strong
from .prefix import shift
from .shape import inverse_permutation

Axes = tuple[int, ...]
Batched = tuple[Operands, Sequence[bool]]


@unary_transpose(r.reduce_sum)
def transpose_reduce_sum(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.expand(ct, eqn.inputs[0].type.shape, eqn.params["axes"])


@tables.jvp.rule(r.reduce_max, r.reduce_min)
def jvp_extremum(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The mean of the tangents of all elements that equal the result."""
    (x,), (z,), (t,) = eqn.inputs, eqn.outputs, tangents
    axes: Axes = eqn.params["axes"]
    if any(not x.type.shape[i] for i in axes):
        return [Zero(z.type)]  # of nothing, the extremum is a constant
    kept = tuple([1 if i in axes else n for i, n in enumerate(x.type.shape)])
    chosen = b.convert(b.eq(x, b.reshape(z, new_sizes=kept)), x.type.dtype)
    total = b.reduce_sum(b.mul(t, chosen), axes=axes)
    return [b.div(total, b.reduce_sum(chosen, axes=axes))]


@tables.jvp.rule(r.reduce_prod)
def jvp_reduce_prod(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The sum of t_i times the product of the others."""
    axes: Axes = eqn.params["axes"]
    if eqn.inputs[0].type.size == eqn.outputs[0].type.size:
        return [b.reduce_sum(tangents[0], axes=axes)]
    others = strong(b, _others(b, eqn.inputs[0], axes))
    dz = b.reduce_sum(b.mul(tangents[0], others), axes=axes)
    return [as_weak(b, dz, eqn.outputs[0])]


def _others(b: Builder, x: Operand, axes: Axes) -> Operand:
    """For each element the product of the others along these axes: of those before and behind.

    No division, so that zeros among them are as good as any numbers.
    """
    shape: Axes = x.type.shape
    if len(axes) == 1:
        return _neighbours(b, x, axes[0])
    order = (*axes, *(i for i in range(len(shape)) if i not in axes))
    in_order = tuple([shape[i] for i in order])
    lengths, rest = in_order[: len(axes)], in_order[len(axes) :]
    line = b.reshape(b.transpose(x, permutation=order), new_sizes=(math.prod(lengths), *rest))
    product = b.reshape(_neighbours(b, line, 0), new_sizes=in_order)
    return b.transpose(product, permutation=inverse_permutation(order))


def _neighbours(b: Builder, x: Operand, axis: int) -> Operand:
    before = b.cumprod(shift(b, x, axis, 1, 1), axis=axis)
    behind = b.cumprod(shift(b, x, axis, -1, 1), axis=axis, reverse=True)
    return b.mul(before, behind)


# -- reduction by any combiner -------------------------------------------------------------------

Duals = tuple[list[Operand], list[Operand]]
"""Flat arrays, and their tangents (or Zeros)."""


def _shaped(b: Builder, x: Operand, shape: Axes) -> Operand:
    return Zero(x.type.with_shape(shape)) if isinstance(x, Zero) else b.reshape(x, new_sizes=shape)


def _flat(b: Builder, x: Operand, axes: Axes) -> Operand:
    """x as one row of rows: the reduced axes come first."""
    order = (*axes, *(i for i in range(x.type.ndim) if i not in axes))
    if isinstance(x, Zero):
        return Zero(x.type.with_shape((x.type.size,)))
    return b.reshape(b.transpose(x, permutation=order), new_sizes=(x.type.size,))


def _spread(b: Builder, x: Operand, shape: Axes, axes: Axes = ()) -> Operand:
    """An initial value for each position of the result, in a row."""
    if isinstance(x, Zero):
        return Zero(x.type.with_shape((math.prod(shape),)))
    return b.reshape(b.broadcast(x, shape, axes), new_sizes=(math.prod(shape),))


def _combine(b: Builder, graph: Graph, before: Duals, behind: Duals) -> Duals:
    """Combine flat arrays of one length, element by element."""
    values, tangents = [*before[0], *behind[0]], [*before[1], *behind[1]]
    size, count = values[0].type.size, len(graph.outputs)
    batched, _ = batch_graph(graph, [True] * len(values), size, [True] * count)
    pushed, moves = jvp_graph(batched, [not isinstance(t, Zero) for t in tangents])
    given = [t for t in tangents if not isinstance(t, Zero)]
    outputs = b.inline(pushed, [*values, *given])
    slopes = iter(outputs[count:])
    moved = [next(slopes) if m else Zero(y.type) for m, y in zip(moves, outputs, strict=False)]
    return outputs[:count], moved


def _tree(b: Builder, graph: Graph, duals: Duals, width: int) -> Duals:
    """Reduce rows of this width, one or more, to one by combining the halves of what there is."""
    while (n := duals[0][0].type.size // max(width, 1)) > 1:
        half = n // 2 * width
        rest = _part(b, duals, 2 * half, n * width)
        duals = _combine(b, graph, _part(b, duals, 0, half), _part(b, duals, half, 2 * half))
        if n % 2:
            duals = _joined(b, duals[0], rest[0]), _joined(b, duals[1], rest[1])
    return duals


def _part(b: Builder, duals: Duals, start: int, limit: int) -> Duals:
    def part(x: Operand) -> Operand:
        if isinstance(x, Zero):
            return Zero(x.type.with_shape((limit - start,)))
        return b.slice(x, start_indices=(start,), limit_indices=(limit,))

    return [part(x) for x in duals[0]], [part(t) for t in duals[1]]


def _joined(b: Builder, xs: list[Operand], ys: list[Operand]) -> list[Operand]:
    def join(x: Operand, y: Operand) -> Operand:
        if isinstance(x, Zero) and isinstance(y, Zero):
            return Zero(x.type.with_shape((x.type.size + y.type.size,)))
        return b.concatenate(x, y, dimension=0)

    return [join(x, y) for x, y in zip(xs, ys, strict=True)]


@tables.jvp.rule(r.reduce)
def jvp_reduce(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A tree of combinations of halves: what a linear half can be made of."""
    b.append(eqn)
    graph, axes = eqn.params["graph"], eqn.params["dimensions"]
    n, shape = len(eqn.outputs), eqn.outputs[0].type.shape
    start: Duals = (
        [_spread(b, x, shape) for x in eqn.inputs[n:]],
        [_spread(b, t, shape) for t in tangents[n:]],
    )
    values = [_flat(b, x, axes) for x in eqn.inputs[:n]]
    slopes = [_flat(b, t, axes) for t in tangents[:n]]
    whole = start
    if values[0].type.size:
        whole = _tree(b, graph, (values, slopes), math.prod(shape))
        if not all(isinstance(t, Zero) for t in start[1]):
            whole = _combine(b, graph, start, whole)
    return [_shaped(b, t, shape) for t in whole[1]]


@tables.batch.rule(r.reduce)
def batch_reduce(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """Initial values that differ between examples are combined with the rest at the end."""
    graph, n = eqn.params["graph"], len(eqn.outputs)
    axes = tuple(axis + 1 for axis in eqn.params["dimensions"])
    given = zip(inputs[:n], batched[:n], strict=True)
    operands = [materialise_batch(b, x, is_batched, size) for x, is_batched in given]
    if not any(batched[n:]):
        outputs = b.emit(r.reduce, *operands, *inputs[n:], dimensions=axes, graph=graph)
        return outputs, (True,) * n
    shape = (size, *eqn.outputs[0].type.shape)
    still = [Zero(x.type) for x in operands]
    start = [
        _spread(b, x, shape, (0,) if is_batched else ())
        for x, is_batched in zip(inputs[n:], batched[n:], strict=True)
    ]
    values = [_flat(b, x, axes) for x in operands]
    if values[0].type.size:
        whole = _tree(b, graph, (values, still), math.prod(shape))
        start, _ = _combine(b, graph, (start, still), whole)
    return [_shaped(b, x, shape) for x in start], (True,) * n


# -- batching ------------------------------------------------------------------------------------


@tables.batch.rule(
    r.reduce_sum,
    r.reduce_prod,
    r.reduce_max,
    r.reduce_min,
    r.reduce_and,
    r.reduce_or,
    r.reduce_xor,
    r.argmax,
    r.argmin,
)
def batch_reduction(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    params = {**eqn.params, "axes": tuple(axis + 1 for axis in eqn.params["axes"])}
    return b.emit(eqn.primitive, *inputs, **params), (True,)
