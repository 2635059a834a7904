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
    kept = tuple([1 if i in axes else n for i, n in enumerate(x.type.shape)])
    chosen = b.convert(b.eq(x, b.reshape(z, new_sizes=kept)), x.type.dtype)
    total = b.reduce_sum(b.mul(t, chosen), axes=axes)
    return [b.div(total, b.reduce_sum(chosen, axes=axes))]


@tables.jvp.rule(r.reduce_prod)
def jvp_reduce_prod(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The sum of t_i times the product of the others."""
    axes: Axes = eqn.params["axes"]
    return [b.reduce_sum(b.mul(tangents[0], _others(b, eqn.inputs[0], axes)), axes=axes)]


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


def _lines(b: Builder, x: Operand, axes: Axes) -> Operand:
    """x with the reduced axes merged into one, in front."""
    shape = x.type.shape
    rest = tuple(i for i in range(len(shape)) if i not in axes)
    new_sizes = (math.prod(shape[i] for i in axes), *(shape[i] for i in rest))
    if isinstance(x, Zero):
        return Zero(x.type.with_shape(new_sizes))
    return b.reshape(b.transpose(x, permutation=(*axes, *rest)), new_sizes=new_sizes)


Duals = tuple[list[Operand], list[Operand]]
"""Values, and their tangents (or Zeros)."""


def _combine(b: Builder, graph: Graph, before: Duals, behind: Duals) -> Duals:
    """Combine arrays of one shape, element by element."""
    shape = before[0][0].type.shape
    size = math.prod(shape)

    def flat(x: Operand) -> Operand:
        if isinstance(x, Zero):
            return Zero(x.type.with_shape((size,)))
        return b.reshape(x, new_sizes=(size,))

    values = [flat(x) for x in (*before[0], *behind[0])]
    tangents = [flat(t) for t in (*before[1], *behind[1])]
    nonzero = [not isinstance(t, Zero) for t in tangents]
    count = len(graph.outputs)
    batched, _ = batch_graph(graph, [True] * len(values), size, [True] * count)
    pushed, moves = jvp_graph(batched, nonzero)
    given = [t for t in tangents if not isinstance(t, Zero)]
    outputs = [b.reshape(y, new_sizes=shape) for y in b.inline(pushed, [*values, *given])]
    slopes = iter(outputs[count:])
    moved = [next(slopes) if moves[i] else Zero(outputs[i].type) for i in range(count)]
    return outputs[:count], moved


def _tree(b: Builder, graph: Graph, duals: Duals) -> Duals:
    """Reduce the first axis, of length 1 or more, by combining its halves."""
    while (n := duals[0][0].type.shape[0]) > 1:
        half = n // 2
        rest = _part(b, duals, 2 * half, n)
        duals = _combine(b, graph, _part(b, duals, 0, half), _part(b, duals, half, 2 * half))
        if n % 2:
            duals = _joined(b, duals[0], rest[0]), _joined(b, duals[1], rest[1])
    shape = duals[0][0].type.shape[1:]
    return [_reshape(b, x, shape) for x in duals[0]], [_reshape(b, t, shape) for t in duals[1]]


def _part(b: Builder, duals: Duals, start: int, limit: int) -> Duals:
    def part(x: Operand) -> Operand:
        shape = x.type.shape
        if isinstance(x, Zero):
            return Zero(x.type.with_shape((limit - start, *shape[1:])))
        starts, limits = (start, *(0 for _ in shape[1:])), (limit, *shape[1:])
        return b.slice(x, start_indices=starts, limit_indices=limits)

    return [part(x) for x in duals[0]], [part(t) for t in duals[1]]


def _joined(b: Builder, xs: list[Operand], ys: list[Operand]) -> list[Operand]:
    def join(x: Operand, y: Operand) -> Operand:
        shape = (x.type.shape[0] + y.type.shape[0], *x.type.shape[1:])
        if isinstance(x, Zero) and isinstance(y, Zero):
            return Zero(x.type.with_shape(shape))
        return b.concatenate(x, y, dimension=0)

    return [join(x, y) for x, y in zip(xs, ys, strict=True)]


def _reshape(b: Builder, x: Operand, shape: Axes) -> Operand:
    if isinstance(x, Zero):
        return Zero(x.type.with_shape(shape))
    return b.reshape(x, new_sizes=shape)


def _spread(b: Builder, x: Operand, shape: Axes) -> Operand:
    return Zero(x.type.with_shape(shape)) if isinstance(x, Zero) else b.broadcast(x, shape, ())


@tables.jvp.rule(r.reduce)
def jvp_reduce(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A tree of combinations of halves: what a linear half can be made of."""
    b.append(eqn)
    graph, axes = eqn.params["graph"], eqn.params["dimensions"]
    n = len(eqn.outputs)
    shape = eqn.outputs[0].type.shape
    initial = [_spread(b, x, shape) for x in eqn.inputs[n:]]
    start: Duals = (initial, [_spread(b, t, shape) for t in tangents[n:]])
    values = [_lines(b, x, axes) for x in eqn.inputs[:n]]
    if not values[0].type.shape[0]:
        return start[1]
    whole = _tree(b, graph, (values, [_lines(b, t, axes) for t in tangents[:n]]))
    if all(isinstance(t, Zero) for t in start[1]):
        return whole[1]
    return _combine(b, graph, start, whole)[1]


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
    initial = [
        b.broadcast(x, shape, (0,) if is_batched else ())
        for x, is_batched in zip(inputs[n:], batched[n:], strict=True)
    ]
    values = [_lines(b, x, axes) for x in operands]
    if not values[0].type.shape[0]:
        return initial, (True,) * n
    whole = _tree(b, graph, (values, [Zero(x.type) for x in values]))
    still = [Zero(x.type) for x in initial]
    return _combine(b, graph, (initial, still), whole)[0], (True,) * n


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
