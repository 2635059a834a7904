"""The loops that a `replay` and a `rewind` stand for.

A replay is one loop that carries the states with it. A rewind has its kept states on a stack, the
latest on top, with the steps before which they are kept:

    for i = n - 1, ..., 0:
        while there is room, and step i is not the one after the top of the stack:
            go ahead from there, and keep the state that is reached      (`revolve.distance`)
        go ahead from the top to step i; reverse that step
        drop the top if it was the state that step i started from

or, where all states are at hand or there is room for them, one loop backwards that reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .builder import Builder
from .graph import Constant, Equation, Graph, Value, memoised
from .loops import scan_loop, while_loop
from .ops.elementwise import and_
from .ops.rewind import along, replay, rewind_groups
from .types import INT32, TensorType

INDEX: Final = TensorType((), INT32)
MOST: Final = 2**31 - 1


def expand(eqn: Equation) -> Graph:
    """The operands of a replay or rewind in, its outputs out."""
    if eqn.primitive is replay:
        return _memoised(eqn, "replay", _replayed)
    if len(eqn.params["positions"]) == eqn.params["length"]:
        return _memoised(eqn, "rewind kept", _from_kept)
    return _memoised(eqn, "rewind", _rewound)


def expand_stored(eqn: Equation) -> Graph:
    """The same for a number of steps that is known, every state kept: loops that are differentiated
    in reverse as any others are."""
    if eqn.primitive is replay:
        return expand(eqn)
    return _memoised(eqn, "rewind stored", _stored)


Expansion = Callable[[Builder, "_Loop"], list[Any]]


def _memoised(eqn: Equation, key: str, expansion: Expansion) -> Graph:
    def make() -> Graph:
        b = Builder()
        b.location = eqn.location
        inputs = [Value(x.type.strong) for x in eqn.inputs]
        found = expansion(b, _Loop.of(eqn, inputs))
        types = [v.type for v in eqn.outputs]
        outputs = [b.convert(x, t.dtype, t.weak) for x, t in zip(found, types, strict=True)]
        return b.graph(inputs, outputs, f"{along(eqn).name}.{key.replace(' ', '_')}")

    types = tuple([x.type.strong for x in eqn.inputs]), tuple([v.type for v in eqn.outputs])
    signature = (*types, *eqn.params.values())
    made: Graph = memoised(along(eqn), (key, signature), make)
    return made


@dataclass(frozen=True)
class _Loop:
    """A replay or rewind with its operands as atoms of the program that is being built."""

    step: Graph
    beside: Graph
    count: Any
    consts: tuple[Any, ...]
    kept: tuple[Any, ...]
    carry: tuple[Any, ...]
    xs: tuple[Any, ...]
    length: int | None
    snapshots: int
    positions: tuple[int, ...]
    reverse: bool

    @classmethod
    def of(cls, eqn: Equation, inputs: Sequence[Any]) -> _Loop:
        p = eqn.params
        count, *groups = rewind_groups(eqn, inputs)
        first = (p["step"], along(eqn), count[0] if count else None)
        how = [p[name] for name in ("length", "snapshots", "positions", "reverse")]
        everything: list[Any] = [*first, *groups, *how]
        return cls(*everything)

    def first(self, b: Builder) -> list[Any]:
        """The state before step 0."""
        return [row(b, x, 0) for x in self.kept]

    def rows(self, b: Builder, i: Any) -> list[Any]:
        return rows_of_step(b, self.xs, i, self.reverse)

    def advance(self, b: Builder, state: Sequence[Any], start: Any, end: Any) -> list[Any]:
        """The state before step `end`, from that before step `start`."""

        def step(b: Builder, i: Any, *state: Any) -> list[Any]:
            after = b.inline(self.step, (*self.consts, *state, *self.rows(b, i)))
            return [b.add(i, 1), *after]

        name = f"{self.step.name}.again"
        return while_loop(b, lambda b, i, *_: b.lt(i, end), step, (start, *state), name)[1:]

    def beside_step(
        self, b: Builder, state: Sequence[Any], carry: Sequence[Any], x: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        outputs = b.inline(self.beside, (*self.consts, *state, *carry, *x))
        n = len(self.carry)
        return outputs[:n], outputs[n:]


def rows_of_step(b: Builder, xs: Sequence[Any], i: Any, reverse: bool) -> list[Any]:
    """What step i of a loop reads of xs."""
    if not xs:
        return []
    j = row_of_step(b, i, xs[0].type.shape[0], reverse)
    return [row(b, x, j) for x in xs]


def row_of_step(b: Builder, i: Any, length: int, reverse: bool) -> Any:
    """Which row step i of a loop reads and writes, a number if i is."""
    if not reverse:
        return i
    return length - 1 - i if isinstance(i, int) else b.sub(length - 1, i)


def row(b: Builder, x: Any, i: Any) -> Any:
    """x[i], for a number i or an i32[]."""
    shape = x.type.shape
    if isinstance(i, int):
        starts, limits = (i, *(0 for _ in shape[1:])), (i + 1, *shape[1:])
        cut = b.slice(x, start_indices=starts, limit_indices=limits, strides=None)
    else:
        zeros = [b.literal(0, i.type)] * (len(shape) - 1)
        cut = b.dynamic_slice(x, i, *zeros, slice_sizes=(1, *shape[1:]))
    return b.reshape(cut, new_sizes=shape[1:])


def with_row(b: Builder, x: Any, i: Any, value: Any) -> Any:
    """x with x[i] = value."""
    zeros = [b.literal(0, i.type)] * (len(x.type.shape) - 1)
    return b.dynamic_update_slice(x, as_row(b, value), i, *zeros)


def as_row(b: Builder, x: Any) -> Any:
    """x as an array of one row."""
    return b.reshape(x, new_sizes=(1, *x.type.shape))


# -- along the loop --------------------------------------------------------------------------------


def _replayed(b: Builder, loop: _Loop) -> list[Any]:
    n = len(loop.kept)
    start = (*loop.first(b), *loop.carry)

    def step(b: Builder, state: Sequence[Any], x: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        carry, ys = loop.beside_step(b, state[:n], state[n:], x)
        return [*b.inline(loop.step, (*loop.consts, *state[:n], *x)), *carry], ys

    name = loop.beside.name
    params = {"snapshots": loop.snapshots}
    if loop.length is not None:
        last, ys = scan_loop(b, step, start, loop.xs, loop.length, loop.reverse, name, **params)
        return [*last[n:], *ys]
    found = while_loop(
        b,
        lambda b, i, *_: b.lt(i, loop.count),
        lambda b, i, *state: [b.add(i, 1), *step(b, state, ())[0]],
        (b.literal(0, INDEX), *start),
        name,
        **params,
    )
    return found[1 + n :]


# -- with a stack of states ------------------------------------------------------------------------


def _rewound(b: Builder, loop: _Loop) -> list[Any]:
    n = len(loop.positions)
    start = loop.count if loop.length is None else b.literal(loop.length, INDEX)
    positions = [*loop.positions, *[0] * (loop.snapshots - n)]
    table = Constant(np.array(positions, INT32), TensorType((loop.snapshots,), INT32), "positions")
    stack = [_with_room(b, x, loop.snapshots) for x in loop.kept]
    carry = (b.convert(start, INT32), b.literal(n - 1, INDEX), b.constant(value=table), *stack)

    def step(b: Builder, carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        (end, *places), adjoint = carry[: 3 + len(stack)], carry[3 + len(stack) :]
        last = b.sub(end, 1)
        top, where, *rows = _keep_on_the_way(b, loop, end, places) if loop.snapshots > 1 else places
        at = row(b, where, top)
        state = loop.advance(b, [row(b, s, top) for s in rows], at, last)
        adjoint, ys = loop.beside_step(b, state, adjoint, x)
        used_up = b.convert(b.eq(at, last), INT32)
        top = b.max(b.sub(top, used_up), 0)
        return [last, top, where, *rows, *adjoint], ys

    name = loop.beside.name
    if loop.length is not None:
        start_carry = (*carry, *loop.carry)
        last, ys = scan_loop(b, step, start_carry, loop.xs, loop.length, not loop.reverse, name)
        return [*last[3 + len(stack) :], *ys]
    found = while_loop(
        b,
        lambda b, end, *_: b.gt(end, 0),
        lambda b, *carry: step(b, list(carry), [])[0],
        (*carry, *loop.carry),
        name,
    )
    return found[3 + len(stack) :]


def _with_room(b: Builder, rows: Any, n: int) -> Any:
    """Rows of states, and room for more up to n."""
    missing = n - rows.type.shape[0]
    if not missing:
        return rows
    shape = rows.type.shape[1:]
    axes = range(1, len(shape) + 1)
    room = b.broadcast(row(b, rows, 0), (missing, *shape), axes)
    return b.concatenate(rows, room, dimension=0)


def _keep_on_the_way(b: Builder, loop: _Loop, end: Any, places: Sequence[Any]) -> list[Any]:
    """Push states until the top is the one before step end - 1, or there is no more room."""

    def goes_on(b: Builder, top: Any, where: Any, *rows: Any) -> Any:
        ahead = b.gt(b.sub(end, row(b, where, top)), 1)
        return b.emit(and_, ahead, b.lt(top, loop.snapshots - 1))[0]

    def push(b: Builder, top: Any, where: Any, *rows: Any) -> list[Any]:
        at = row(b, where, top)
        room = b.sub(loop.snapshots, top)
        there = b.add(at, distance(b, b.sub(end, at), room))
        state = loop.advance(b, [row(b, s, top) for s in rows], at, there)
        top = b.add(top, 1)
        kept = [with_row(b, s, top, x) for s, x in zip(rows, state, strict=True)]
        return [top, with_row(b, where, top, there), *kept]

    return while_loop(b, goes_on, push, places, f"{loop.step.name}.keep")


def distance(b: Builder, length: Any, snapshots: Any) -> Any:
    """`revolve.distance` as equations, for snapshots of two or more and lengths that fit i32.

    C(s + r, r) is carried with the two numbers before it, each the last plus last * s / r. A number
    too large for the type is as good as the largest: the length is below it.
    """

    def grow(b: Builder, r: Any, before: Any, last: Any, reached: Any) -> list[Any]:
        r = b.add(r, 1)
        whole, part = b.div(reached, r), b.rem(reached, r)
        more = b.add(b.mul(whole, snapshots), b.div(b.mul(part, snapshots), r))
        too_large = b.gt(whole, b.div(b.sub(MOST // 2, reached), snapshots))
        larger = b.select_n(too_large, b.add(reached, more), b.literal(MOST, INDEX))
        return [r, last, reached, larger]

    def too_short(b: Builder, r: Any, before: Any, last: Any, reached: Any) -> Any:
        return b.lt(reached, length)

    zero, one = b.literal(0, INDEX), b.literal(1, INDEX)
    _, before, last, reached = while_loop(b, too_short, grow, (zero, zero, zero, one), "repeats")
    ahead = b.sub(reached, last)  # C(s + r - 1, s - 1) = C(s + r, s) - C(s + r - 1, s)
    return b.max(b.max(before, b.sub(length, ahead)), 1)


# -- with all states kept --------------------------------------------------------------------------


def _stored(b: Builder, loop: _Loop) -> list[Any]:
    def step(b: Builder, state: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        return b.inline(loop.step, (*loop.consts, *state, *x)), state

    assert loop.length is not None
    name = loop.step.name
    _, states = scan_loop(b, step, loop.first(b), loop.xs, loop.length, loop.reverse, name)
    return _backwards(b, loop, states)


def _from_kept(b: Builder, loop: _Loop) -> list[Any]:
    def turned(x: Any) -> Any:
        return b.rev(x, dimensions=(0,)) if loop.reverse else x

    return _backwards(b, loop, [turned(x) for x in loop.kept])


def _backwards(b: Builder, loop: _Loop, states: Sequence[Any]) -> list[Any]:
    n = len(loop.kept)

    def pull(b: Builder, carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        return loop.beside_step(b, x[:n], carry, x[n:])

    assert loop.length is not None
    rows = (*states, *loop.xs)
    last, ys = scan_loop(b, pull, loop.carry, rows, loop.length, not loop.reverse, loop.beside.name)
    return [*last, *ys]
