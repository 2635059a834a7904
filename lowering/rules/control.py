"""Loops and branches.

Their bodies read what does not change from outside; what changes is carried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...ir.graph import Equation, Graph
from ...ir.ops import control as ops
from ...ir.types import BOOL, INT32, TensorType
from ..context import Body, Context, MlirValue
from ..mlir_types import physical
from ..monoids import compare
from ..ordered import branch, loop
from ..tables import callees, lower
from .shape import concatenate, slice_of

Operands = Sequence[MlirValue]
Types = Sequence[TensorType]


@lower.rule(ops.while_)
def lower_while(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """while cond(carry) { carry = body(carry) }."""
    p = eqn.params
    cond_consts, body_consts, carry = ops.split_sizes(operands, ops.while_sizes(eqn))
    types = [v.type for v in eqn.outputs]

    def proceeds(values: Operands) -> Operands:
        return ctx.inline(p["cond_graph"], (*cond_consts, *values))

    def step(values: Operands) -> Operands:
        return ctx.inline(p["body_graph"], (*body_consts, *values))

    if not p["cond_graph"].effects:
        return loop(ctx, types, carry, proceeds, step, (p["body_graph"],))

    # XLA's condition cannot hand on tokens, and XLA drops one whose answers it can foresee: it is
    # evaluated before the loop and in its body, and what it says is carried.
    def step_and_test(values: Operands) -> Operands:
        moved = step(values[1:])
        return [*proceeds(moved), *moved]

    start = [*proceeds(carry), *carry]
    graphs = (p["cond_graph"], p["body_graph"])
    flag = TensorType((), BOOL)
    return loop(ctx, [flag, *types], start, lambda v: v[:1], step_and_test, graphs)[1:]


@lower.rule(ops.cond)
def lower_cond(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    branches: tuple[Graph, ...] = eqn.params["branches"]
    index, *rest = operands
    if len(branches) == 1:
        return ctx.inline(branches[0], rest)
    if eqn.inputs[0].type.dtype == BOOL:
        index = ctx.op("stablehlo.convert", TensorType((), INT32), index)

    def body(branch: Graph) -> Body:
        return lambda _: ctx.inline(branch, rest)

    types = [v.type for v in eqn.outputs]
    return branch(ctx, types, index, [(graph, body(graph)) for graph in branches])


@lower.rule(ops.custom_linear_solve)
def lower_linear_solve(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    groups = ops.split_sizes(operands, eqn.params["const_lengths"])
    return ctx.inline(eqn.params["solve"], (*groups[2], *groups[-1]))


# -- scan ----------------------------------------------------------------------------------------


def trips(length: int, unroll: int) -> tuple[int, int]:
    """(times that the loop goes round, steps written out beside it)."""
    if unroll == 0 or (unroll != 1 and length == unroll):
        return 0, length
    return divmod(length, unroll)


@callees.rule(ops.scan)
def body_of_scan(eqn: Equation) -> Iterable[Graph]:
    """The body, if it runs; twice if it is written several times, so that it becomes a function."""
    body = tuple(eqn.running())
    return body if eqn.params["unroll"] == 1 else body * 2


@lower.rule(ops.scan)
def lower_scan(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """A loop over blocks of `unroll` steps, then (or, reversed: also last) the steps left over.

    xs and ys are cut and written in the loop: i counts up, position = i or, reversed, n - 1 - i.
    """
    p = eqn.params
    scan = Scan(ctx, eqn, operands)
    n, rest = trips(p["length"], p["unroll"])
    carry: Operands = scan.carry
    ys: Operands = []
    if n:
        carry, ys = scan.loop(n)
    if rest or not n:
        done = n * p["unroll"]
        carry, ys_rest = scan.steps(carry, *scan.left_over(done, rest))
        ys = scan.join(ys, ys_rest, done, rest) if n else ys_rest
    return [*carry, *ys]


class Scan:
    """One scan while it is being lowered."""

    def __init__(self, ctx: Context, eqn: Equation, operands: Operands) -> None:
        self.ctx = ctx
        self.graph: Graph = eqn.params["graph"]
        self.reverse: bool = eqn.params["reverse"]
        self.unroll: int = eqn.params["unroll"]
        self.consts, self.carry, self.xs = ops.split_sizes(operands, ops.scan_sizes(eqn))
        n_consts, n_carry = ops.scan_sizes(eqn)
        self.carry_types = [v.type for v in eqn.outputs[:n_carry]]
        self.y_types = [physical(v.type) for v in self.graph.outputs[n_carry:]]
        self.x_types = [physical(v.type) for v in self.graph.inputs[n_consts + n_carry :]]
        self.length: int = eqn.params["length"]
        wide = self.length >= 2**31
        self.counter = TensorType((), np.dtype(np.int64) if wide else INT32)

    # -- the loop --------------------------------------------------------------------------------

    def loop(self, n: int) -> tuple[Operands, list[MlirValue]]:
        """n rounds of `unroll` steps: (carry, ys of n * unroll steps)."""
        ctx = self.ctx
        block = () if self.unroll == 1 else (self.unroll,)
        xs = self._blocks(n, block)
        y_types = [stacked(t, (n, *block)) for t in self.y_types]
        given, ys = self._start(y_types)
        types = [self.counter, *self.carry_types, *y_types]
        n_carry = len(self.carry_types)

        def is_unfinished(values: Operands) -> Operands:
            return [compare(ctx, "LT", values[0], ctx.full(n, self.counter), self.counter)]

        def body(values: Operands) -> Operands:
            i, carry, ys = values[0], values[1 : 1 + n_carry], values[1 + n_carry :]
            position = self._position(i, n)
            taken = [
                take(ctx, x, stacked(t, block), position, self.counter)
                for x, t in zip(xs, self.x_types, strict=True)
            ]
            carry, new = self._round(carry, taken)
            ys = [
                put(ctx, y, whole, value, stacked(t, block), position, self.counter)
                for y, whole, value, t in zip(ys, y_types, new, self.y_types, strict=True)
            ]
            following = ctx.op("stablehlo.add", self.counter, i, ctx.full(1, self.counter))
            return [following, *carry, *ys]

        start = (ctx.full(0, self.counter), *given, *ys)
        _, *ends = loop(ctx, types, start, is_unfinished, body, (self.graph,))
        carry, ys = ends[:n_carry], ends[n_carry:]
        if block:
            flat = [stacked(t, (n * self.unroll,)) for t in self.y_types]
            ys = [ctx.reshape(y, t) for y, t in zip(ys, flat, strict=True)]
        return carry, ys

    def _start(self, y_types: Types) -> tuple[Operands, list[MlirValue]]:
        """The carry, and room for the ys.

        Where the program keeps an order, room is made once the carry is there: XLA's CPU backend
        would else make room for all loops before it runs the first.
        """
        ctx = self.ctx
        if not (ctx.keeps_order and self.carry):
            return self.carry, [ctx.full(0, t) for t in y_types]
        zeros = {t.dtype: TensorType((), t.dtype) for t in y_types}
        values = [*self.carry, *(ctx.full(0, t) for t in zeros.values())]
        behind = ctx.barrier([*self.carry_types, *zeros.values()], values)
        zero = dict(zip(zeros, behind[len(self.carry) :], strict=True))
        return behind[: len(self.carry)], [ctx.broadcast(zero[t.dtype], t, ()) for t in y_types]

    def _blocks(self, n: int, block: tuple[int, ...]) -> Operands:
        """xs as n blocks of steps, without those left over."""
        if not block:
            return self.xs
        count = n * self.unroll
        start = self.length - count if self.reverse else 0
        return [
            self.ctx.reshape(self._cut(x, t, start, count), stacked(t, (n, *block)))
            for x, t in zip(self.xs, self.x_types, strict=True)
        ]

    def _cut(self, x: MlirValue, type: TensorType, start: int, count: int) -> MlirValue:
        """`count` of the slices of x, each of this type."""
        if count == self.length:
            return x
        first, last = [start, *[0] * len(type.shape)], [start + count, *type.shape]
        return slice_of(self.ctx, x, stacked(type, (count,)), first, last)

    def _position(self, i: MlirValue, n: int) -> MlirValue:
        if not self.reverse:
            return i
        last = self.ctx.full(n - 1, self.counter)
        return self.ctx.op("stablehlo.subtract", self.counter, last, i)

    def _round(self, carry: Operands, xs: Operands) -> tuple[Operands, Operands]:
        if self.unroll == 1:
            return self._step(carry, xs)
        return self.steps(carry, xs, self.unroll)

    # -- steps -----------------------------------------------------------------------------------

    def _step(self, carry: Operands, xs: Operands) -> tuple[Operands, Operands]:
        results = self.ctx.inline(self.graph, (*self.consts, *carry, *xs))
        n_carry = len(self.carry_types)
        return results[:n_carry], results[n_carry:]

    def steps(self, carry: Operands, xs: Operands, count: int) -> tuple[Operands, list[MlirValue]]:
        """`count` steps written out: (carry, ys stacked)."""
        ctx = self.ctx
        rows: list[Operands] = [()] * count
        for i in reversed(range(count)) if self.reverse else range(count):
            sliced = [row(ctx, x, t, i) for x, t in zip(xs, self.x_types, strict=True)]
            carry, rows[i] = self._step(carry, sliced)
        return carry, [
            stack(ctx, [ys[k] for ys in rows], type) for k, type in enumerate(self.y_types)
        ]

    def left_over(self, done: int, rest: int) -> tuple[Operands, int]:
        """xs of the steps that the loop does not do."""
        start = 0 if self.reverse else done
        xs = zip(self.xs, self.x_types, strict=True)
        return [self._cut(x, t, start, rest) for x, t in xs], rest

    def join(self, ys: Operands, ys_rest: Operands, done: int, rest: int) -> list[MlirValue]:
        """The ys of the loop and of the steps left over, in their order."""
        joined = []
        for y, left, type in zip(ys, ys_rest, self.y_types, strict=True):
            parts = [(y, stacked(type, (done,))), (left, stacked(type, (rest,)))]
            values, types = zip(*reversed(parts) if self.reverse else parts, strict=True)
            joined.append(concatenate(self.ctx, values, types, 0))
        return joined


def stacked(type: TensorType, leading: tuple[int, ...]) -> TensorType:
    """The type of an array of such arrays."""
    return TensorType((*leading, *type.shape), type.dtype)


def take(
    ctx: Context, x: MlirValue, type: TensorType, i: MlirValue, index: TensorType
) -> MlirValue:
    """`x[i]`, of this type."""
    starts = [i, *[ctx.full(0, index)] * len(type.shape)]
    sizes = ctx.attributes.integers((1, *type.shape))
    slice = ctx.op("stablehlo.dynamic_slice", stacked(type, (1,)), x, *starts, slice_sizes=sizes)
    return ctx.reshape(slice, type)


def put(
    ctx: Context,
    x: MlirValue,
    whole: TensorType,
    value: MlirValue,
    type: TensorType,
    i: MlirValue,
    index: TensorType,
) -> MlirValue:
    """x with `x[i] = value`."""
    starts = [i, *[ctx.full(0, index)] * len(type.shape)]
    update = ctx.broadcast(value, stacked(type, (1,)), range(1, len(type.shape) + 1))
    return ctx.op("stablehlo.dynamic_update_slice", whole, x, update, *starts)


def row(ctx: Context, x: MlirValue, type: TensorType, i: int) -> MlirValue:
    """`x[i]` at a fixed position."""
    first, last = [i, *[0] * len(type.shape)], [i + 1, *type.shape]
    return ctx.reshape(slice_of(ctx, x, stacked(type, (1,)), first, last), type)


def stack(ctx: Context, rows: Sequence[MlirValue], type: TensorType) -> MlirValue:
    """Arrays of one type along a new first axis."""
    if not rows:
        return ctx.full(0, stacked(type, (0,)))
    axes = range(1, len(type.shape) + 1)
    parts = [ctx.broadcast(x, stacked(type, (1,)), axes) for x in rows]
    return concatenate(ctx, parts, [stacked(type, (1,))] * len(parts), 0)
