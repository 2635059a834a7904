"""A pair of loops with a few states in place of stacks: a sweep that keeps them, and a `rewind`.

    h, hs = scan w h0                          h, kept = scan w h0
    ct    = scan[reverse] w ct0 hs       =>    ct = rewind[snapshots=S] w kept ct0

Law: the same outputs: each step is computed again from the same state by the same equations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from ...ir.builder import Builder
from ...ir.costs import Cost, graph_cost
from ...ir.graph import Constant, Equation, Graph, Value, memoised
from ...ir.loops import scan_loop, while_loop
from ...ir.ops.control import scan, scan_sizes, split_sizes
from ...ir.ops.rewind import rewind
from ...ir.revolve import first_positions
from ...ir.rewinding import INDEX, row_of_step, rows_of_step, with_row
from ...ir.types import INT32, TensorType
from ..dce import dce_graph, region_of
from ..regions import select
from .flat import flat_graph
from .pairs import Pair

SWEEP: Final = "sweep"
"""Marks the body of a loop that keeps states: what it costs is known from the plan alone."""


def with_rewinds(graph: Graph, snapshots: Mapping[Pair, int]) -> Graph:
    """The graph in which these pairs keep so many states each."""
    if not snapshots:
        return graph
    made = {pair: _Rewound(pair, n) for pair, n in snapshots.items()}
    first = {pair.forward: rewound for pair, rewound in made.items()}
    second = {pair.backward: rewound for pair, rewound in made.items()}
    b = Builder()
    env: dict[Any, Any] = {}
    for eqn in graph.equations:
        b.replace(eqn)
        inputs = tuple([env.get(x, x) for x in eqn.inputs])
        if eqn in first:
            found = first[eqn].sweep(b, inputs)
        elif eqn in second:
            found = second[eqn].back(b, inputs)
        else:
            b.append(eqn if inputs == eqn.inputs else eqn.replace(inputs=inputs))
            continue
        for old, new in zip(eqn.outputs, found, strict=True):
            if new is not None:
                env[old] = b.convert(new, old.type.dtype, old.type.weak)
    outputs = [env.get(x, x) for x in graph.outputs]
    whole = Graph(graph.inputs, b.equations, outputs, graph.name, graph.linear_from)
    pruned, _ = dce_graph(whole)
    return whole.with_equations(pruned.equations)


class _Rewound:
    """One pair, while it is rewritten. inputs: of the first loop; kept: its states."""

    def __init__(self, pair: Pair, snapshots: int) -> None:
        self.pair = pair
        self.length = pair.length
        self.snapshots = min(snapshots, self.length)
        self.positions = (
            tuple(range(self.length))
            if self.snapshots == self.length
            else first_positions(self.length, self.snapshots)
        )
        self.body: Graph = flat_graph(pair.forward.params["graph"]).graph
        self.sizes = scan_sizes(pair.forward)
        self.reverse: bool = pair.forward.params["reverse"]
        self.inputs: tuple[Any, ...] = ()
        self.kept: list[Any] = []

    # -- forwards --------------------------------------------------------------------------------

    def sweep(self, b: Builder, inputs: tuple[Any, ...]) -> list[Any]:
        """The first loop, in which states are kept: its outputs, None for the private stacks."""
        self.inputs = inputs
        n_carry = self.sizes[1]
        ys = self.pair.forward.outputs[n_carry:]
        shown = [k for k, y in enumerate(ys) if y not in self.pair.private]
        keep = self._keep_all if self.snapshots == self.length else self._keep_some
        carry, rows = keep(b, shown)
        by_place = dict(zip(shown, rows, strict=True))
        return [*carry, *(by_place.get(k) for k in range(len(ys)))]

    def _keep_all(self, b: Builder, shown: Sequence[int]) -> tuple[list[Any], list[Any]]:
        """The same loop, with the state before each step as a stack."""
        n_consts, n_carry = self.sizes
        before = self.body.inputs[n_consts:][:n_carry]
        ys = self.body.outputs[n_carry:]
        outputs = (*self.body.outputs[:n_carry], *(ys[k] for k in shown), *before)
        graph = Graph(self.body.inputs, self.body.equations, outputs, self.body.name)
        params = {**self.pair.forward.params, "graph": dce_graph(graph)[0]}
        used = dce_graph(graph)[1]
        params["graph"] = region_of(graph, (True,) * len(outputs), (True,) * len(used))
        found = b.emit(scan, *self.inputs, **params)
        self.kept = [self._in_order(b, x) for x in found[n_carry + len(shown) :]]
        return list(found[:n_carry]), list(found[n_carry : n_carry + len(shown)])

    def _in_order(self, b: Builder, states: Any) -> Any:
        """Stacked states from the first step to the last."""
        return b.rev(states, dimensions=(0,)) if self.reverse else states

    def _keep_some(self, b: Builder, shown: Sequence[int]) -> tuple[list[Any], list[Any]]:
        """From one position to the next: a state is i | carry | rows of the shown stacks."""
        consts, carry, xs = split_sizes(self.inputs, self.sizes)
        n = len(carry)
        types = [self.body.outputs[n + k].type.strong for k in shown]
        rows = [b.full(t.with_shape((self.length, *t.shape)), 0) for t in types]
        ends = np.array((*self.positions[1:], self.length), INT32)
        table = Constant(ends, TensorType(ends.shape, INT32), "ends")
        plain = _carried(self.body, n, shown)

        def advance(b: Builder, i: Any, *rest: Any) -> list[Any]:
            at = rows_of_step(b, xs, i, self.reverse)
            found = b.inline(plain, (*consts, *rest[:n], *at))
            j = row_of_step(b, i, self.length, self.reverse)
            ys = [with_row(b, y, j, x) for y, x in zip(rest[n:], found[n:], strict=True)]
            return [b.add(i, 1), *found[:n], *ys]

        def go_on(b: Builder, state: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
            name = f"{self.body.name}.advance"
            moved = while_loop(b, lambda b, i, *_: b.lt(i, x[0]), advance, state, name)
            return moved, list(state[1 : n + 1])

        start = (b.literal(0, INDEX), *carry, *rows)
        table_input = b.constant(value=table)
        name = f"{self.body.name}.keep"
        end, self.kept = scan_loop(b, go_on, start, (table_input,), len(ends), name=name)
        self._state_cost(b.equations[-1])
        return end[1 : n + 1], end[n + 1 :]

    def _state_cost(self, sweep: Equation) -> None:
        """What an iteration of the sweep costs: only here is known how many steps it takes."""
        each, n = graph_cost(_carried(self.body, self.sizes[1], ())), len(self.positions)
        cost = Cost(each.flops * self.length // n, each.bytes * self.length // n, each.unknown)
        graph: Graph = sweep.params["graph"]
        memoised(graph, "cost", lambda: cost)
        graph.derived[SWEEP] = True

    # -- backwards -------------------------------------------------------------------------------

    def back(self, b: Builder, inputs: tuple[Any, ...]) -> list[Any]:
        """The second loop, which finds the states again."""
        backward = self.pair.backward
        consts, carry, xs = split_sizes(self.inputs, self.sizes)
        more, adjoint, slices = split_sizes(inputs, scan_sizes(backward))
        own = split_sizes(backward.inputs, scan_sizes(backward))[2]
        kept_flags = [x not in self.pair.private for x in own]
        make = partial(self._regions, kept_flags, own)  # the same, however many states are kept
        step, pull = memoised(self.body, ("rewound", self.pair), make)
        return list(
            b.emit(
                rewind,
                *(*consts, *more, *self.kept, *adjoint, *xs, *select(slices, kept_flags)),
                step=step,
                pull=pull,
                num_consts=len(consts) + len(more),
                num_state=len(carry),
                num_carry=len(adjoint),
                length=self.length,
                snapshots=self.snapshots,
                positions=self.positions,
                reverse=self.reverse,
            )
        )

    def _regions(self, read: Sequence[bool], own: Sequence[Any]) -> tuple[Graph, Graph]:
        """step: consts | state | x -> state; pull: consts | state | adjoint | x -> adjoint | y."""
        backward = self.pair.backward
        other: Graph = flat_graph(backward.params["graph"]).graph
        n_carry = self.sizes[1]

        def fresh(values: Sequence[Value]) -> list[Value]:
            return [Value(v.type.strong, v.name) for v in values]

        consts, state, x = split_sizes(fresh(self.body.inputs), self.sizes)
        more, adjoint, slices = split_sizes(fresh(other.inputs), scan_sizes(backward))
        extra = select(slices, read)
        b = Builder()
        found = b.inline(self.body, (*consts, *state, *x))
        stacks = dict(zip(self.pair.forward.outputs[n_carry:], found[n_carry:], strict=True))
        rows = [
            v if is_read else stacks[y] for v, y, is_read in zip(slices, own, read, strict=True)
        ]
        outputs = b.inline(other, (*more, *adjoint, *rows))
        pull_inputs = (*consts, *more, *state, *adjoint, *x, *extra)
        pull = b.graph(pull_inputs, outputs, f"{other.name}.pull")
        b = Builder()
        after = b.inline(_carried(self.body, n_carry, ()), (*consts, *state, *x))
        step = b.graph((*consts, *more, *state, *x, *extra), after, f"{self.body.name}.step")
        return step, pull


def _carried(body: Graph, n_carry: int, shown: Sequence[int]) -> Graph:
    """The body of a loop that makes its carry and these of its ys."""
    n_ys = len(body.outputs) - n_carry
    used = (*(True,) * n_carry, *(k in set(shown) for k in range(n_ys)))
    return region_of(body, used, (True,) * len(body.inputs))
