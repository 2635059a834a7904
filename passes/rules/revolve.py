"""Partial evaluation of a scan that keeps a few states in place of what each iteration needs.

    known      consts | carry | xs                  -> carry | ys | snapshots, residuals
    unknown    residuals, snapshots | carry | xs    -> carry | ys

The first half keeps the states that a reversal begins with (`ir.revolve`), and the residuals of the
last step, which is the first to be reversed. The second is a `replay` of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.builder import Builder
from ...ir.graph import Constant, Equation, Graph, Value, memoised
from ...ir.loops import scan_loop, while_loop
from ...ir.ops.call import call
from ...ir.ops.control import scan_sizes, split_sizes
from ...ir.ops.rewind import replay
from ...ir.revolve import first_positions
from ...ir.rewinding import INDEX, as_row, row_of_step, rows_of_step, with_row
from ...ir.types import INT32, TensorType
from ..dce import dce_graph, region_of
from ..partial_eval import Split
from ..regions import Flags, equation, reject, select
from .rewind import push_of, step_of

Halves = tuple[list[Equation], list[Equation], Sequence[bool]]


def split_revolving(eqn: Equation, unknown: Flags, split: Split) -> Halves:
    """`unknown`: inputs of the body; `split`: the body with its unknown carries."""
    graph: Graph = eqn.params["graph"]
    signature = (unknown, *(eqn.params[p] for p in ("length", "reverse", "snapshots")))
    signature = (*signature, tuple([v.type for v in eqn.outputs]))
    halves: _Halves = memoised(
        split.known, ("revolve", signature), lambda: _Halves.of(eqn, graph, unknown, split)
    )
    known_inputs = reject(eqn.inputs, unknown)
    made = [Value(v.type, v.name) for v in halves.kept]
    known_outputs = (*reject(eqn.outputs, split.unknown_out), *made)
    first = equation(call, known_inputs, known_outputs, {"graph": halves.sweep}, eqn)
    operands = (*made, *eqn.inputs)
    second = equation(
        call,
        select(operands, halves.read),
        select(eqn.outputs, split.unknown_out),
        {"graph": halves.again},
        eqn,
    )
    return [first], [second], split.unknown_out


@dataclass(frozen=True)
class _Halves:
    """sweep: known inputs -> known outputs, kept; again: those of (kept, inputs) that are flagged
    -> unknown outputs."""

    sweep: Graph
    again: Graph
    kept: tuple[Any, ...]
    read: Flags

    @classmethod
    def of(cls, eqn: Equation, graph: Graph, unknown: Flags, split: Split) -> _Halves:
        loop = _Scan.of(eqn, graph, unknown, split)
        sweep, n_outputs = loop.sweep()
        again = loop.again(sweep.outputs[n_outputs:])
        pruned, read = dce_graph(again)
        used = read[: len(sweep.outputs) - n_outputs]
        kept = (*(True,) * n_outputs, *used)
        everything = (True,) * len(sweep.inputs)
        return cls(
            region_of(sweep, kept, everything),
            pruned,
            tuple(select(sweep.outputs[n_outputs:], used)),
            (*(True for u in used if u), *read[len(used) :]),
        )


@dataclass(frozen=True)
class _Scan:
    """A scan to be taken apart; `inputs` and `unknown` in groups (consts, carry, xs)."""

    graph: Graph
    split: Split
    types: tuple[TensorType, ...]
    out_types: tuple[TensorType, ...]
    sizes: tuple[int, int]
    unknown: tuple[Flags, ...]
    length: int
    reverse: bool
    snapshots: int

    @classmethod
    def of(cls, eqn: Equation, graph: Graph, unknown: Flags, split: Split) -> _Scan:
        sizes = scan_sizes(eqn)
        types = tuple([x.type.strong for x in eqn.inputs])
        out_types = tuple([v.type for v in eqn.outputs])
        names = ("length", "reverse", "snapshots")
        groups = tuple(split_sizes(unknown, sizes))
        return cls(
            graph, split, types, out_types, sizes, groups, *(eqn.params[name] for name in names)
        )

    @property
    def positions(self) -> tuple[int, ...]:
        last = self.length - 1
        return tuple([p for p in first_positions(self.length, self.snapshots) if p < last])

    def computed(self) -> list[Value]:
        """The residuals of a step that are not inputs of the body beside its carry."""
        consts, _, xs = split_sizes(self.graph.inputs, self.sizes)
        given = {*consts, *xs}
        return [r for r in self.split.residuals if r not in given]

    # -- the first half --------------------------------------------------------------------------

    def sweep(self) -> tuple[Graph, int]:
        """The known inputs in; the known outputs, snapshots and residuals out. How many of the
        first there are."""
        b = Builder()
        inputs = [Value(v.type.strong, v.name) for v in self._outer_inputs()]
        groups = split_sizes(list(zip(inputs, sum(self.unknown, ()), strict=True)), self.sizes)
        consts, carry, xs = ([v for v, u in group if not u] for group in groups)
        known = self.split.known
        n_known = len(known.outputs) - len(self.split.residuals)
        n_carry = len(carry)
        y_types = [y.type.strong for y in known.outputs[n_carry:n_known]]
        rows = [b.full(t.with_shape((self.length, *t.shape)), 0) for t in y_types]
        kept, state = self._keep(b, consts, xs, (b.literal(0, INDEX), *carry, *rows))
        carry, rows = list(state[1 : n_carry + 1]), state[n_carry + 1 :]
        at = rows_of_step(b, xs, self.length - 1, self.reverse)
        found = b.inline(known, (*consts, *carry, *at))
        last = b.literal(row_of_step(b, self.length - 1, self.length, self.reverse), INDEX)
        ys = [with_row(b, y, last, x) for y, x in zip(rows, found[n_carry:], strict=False)]
        by_value = dict(zip(self.split.residuals, found[n_known:], strict=True))
        computed = [by_value[r] for r in self.computed()]
        outputs = (*self._typed(b, (*found[:n_carry], *ys), False), *kept, *computed)
        known_inputs = [v for v, u in zip(inputs, sum(self.unknown, ()), strict=True) if not u]
        return b.graph(known_inputs, outputs, f"{self.graph.name}.sweep"), n_known

    def _typed(self, b: Builder, outputs: Sequence[Any], unknown: bool) -> list[Any]:
        """Outputs of one half in the types of the scan's."""
        flags = self.split.unknown_out
        types = [t for t, u in zip(self.out_types, flags, strict=True) if u is unknown]
        return [b.convert(x, t.dtype, t.weak) for x, t in zip(outputs, types, strict=True)]

    def _outer_inputs(self) -> list[Value]:
        pairs = zip(self.types, self.graph.inputs, strict=True)
        return [Value(t, v.name) for t, v in pairs]

    def _keep(
        self, b: Builder, consts: Sequence[Any], xs: Sequence[Any], start: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """From the first step to the last: the carry at each position, then the state there.

        A state is i | carry | rows of ys.
        """
        positions = self.positions
        n_carry = sum(not u for u in self.unknown[1])
        ends = np.array((*positions[1:], self.length - 1), INT32)
        table = Constant(ends, TensorType(ends.shape, INT32), "ends")

        def go_on(
            b: Builder, state: Sequence[Any], x: Sequence[Any]
        ) -> tuple[list[Any], list[Any]]:
            end = x[0]
            moved = while_loop(
                b,
                lambda b, i, *_: b.lt(i, end),
                lambda b, i, *rest: self._advance(b, consts, xs, i, rest),
                state,
                f"{self.graph.name}.advance",
            )
            return moved, list(state[1 : n_carry + 1])

        name = f"{self.graph.name}.keep"
        state, kept = scan_loop(
            b, go_on, start, (b.constant(value=table),), len(positions), name=name
        )
        return kept, state

    def _advance(
        self, b: Builder, consts: Sequence[Any], xs: Sequence[Any], i: Any, rest: Sequence[Any]
    ) -> list[Any]:
        known = self.split.known
        n_carry = sum(not u for u in self.unknown[1])
        n_residuals = len(self.split.residuals)
        n_known = len(known.outputs) - n_residuals
        used = (*(True,) * n_known, *(False,) * n_residuals)
        plain = region_of(known, used, (True,) * len(known.inputs))
        carry, rows = rest[:n_carry], rest[n_carry:]
        found = b.inline(plain, (*consts, *carry, *rows_of_step(b, xs, i, self.reverse)))
        j = row_of_step(b, i, self.length, self.reverse)
        ys = [with_row(b, y, j, x) for y, x in zip(rows, found[n_carry:], strict=True)]
        return [b.add(i, 1), *found[:n_carry], *ys]

    # -- the second half -------------------------------------------------------------------------

    def again(self, kept: Sequence[Any]) -> Graph:
        """kept | the scan's inputs -> its unknown outputs."""
        b = Builder()
        held = [Value(x.type, x.name if isinstance(x, Value) else None) for x in kept]
        inputs = self._outer_inputs()
        consts, carry, xs = split_sizes(inputs, self.sizes)
        n_state = sum(not u for u in self.unknown[1])
        snapshots, computed = held[:n_state], held[n_state:]
        start = select(carry, self.unknown[1])
        n_consts, n_carry = self.sizes
        found = b.emit(
            replay,
            *(*consts, *snapshots, *start, *(self._others(b, x) for x in xs)),
            step=step_of(self.graph, n_consts, n_carry, self.split),
            push=push_of(self.graph, n_consts, n_carry, self.split),
            num_consts=n_consts,
            num_state=n_state,
            num_carry=len(start),
            length=self.length - 1,
            snapshots=self.snapshots,
            positions=self.positions,
            reverse=self.reverse,
        )
        tangent, ys = found[: len(start)], found[len(start) :]
        slices = rows_of_step(b, xs, self.length - 1, self.reverse)
        values = dict(zip(self.graph.inputs, (*consts, *carry, *slices), strict=True))
        values.update(zip(self.computed(), computed, strict=True))
        last = [values[r] for r in self.split.residuals]
        unknown_consts, unknown_xs = (
            select(consts, self.unknown[0]),
            select(slices, self.unknown[2]),
        )
        outputs = b.inline(self.split.unknown, (*last, *unknown_consts, *tangent, *unknown_xs))
        stacks = [self._stacked(b, y, x) for y, x in zip(ys, outputs[len(tangent) :], strict=True)]
        ends = self._typed(b, (*outputs[: len(tangent)], *stacks), True)
        return b.graph((*held, *inputs), ends, f"{self.graph.name}.again")

    def _others(self, b: Builder, x: Any) -> Any:
        """The rows of x that the last step does not read."""
        first = 1 if self.reverse else 0
        shape = x.type.shape
        starts = (first, *(0 for _ in shape[1:]))
        limits = (first + self.length - 1, *shape[1:])
        return b.slice(x, start_indices=starts, limit_indices=limits, strides=None)

    def _stacked(self, b: Builder, rows: Any, last: Any) -> Any:
        parts = (as_row(b, last), rows) if self.reverse else (rows, as_row(b, last))
        return b.concatenate(*parts, dimension=0)
