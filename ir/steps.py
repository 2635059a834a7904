"""A program as the steps that a compiler makes of it.

A *step* is an equation whose result is stored, with the equations that are fused into it. What a
step stores are *buffers*. Inputs, captured arrays and the outputs of the program take no temporary
memory: the former have no buffer (a root of None), the latter one of no bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from . import fusion
from .carries import LOOPS, carry_of, moving_outputs
from .costs import equation_cost, traffic
from .graph import Atom, Equation, Graph, Literal, Value, memoised, walk_graphs
from .liveness import usage
from .ops.rewind import rewind_groups
from .places import places_of
from .storage import stored_equations


@dataclass(frozen=True, slots=True)
class Step:
    """Equations that run as one: the last one's outputs are stored, the others are fused into it.

    reads, writes: buffers. in_place: the buffers read whose memory the first output may take.
    carried: what a loop carries as (read, written): the second takes the memory of the first.
    scratch: bytes needed only while it runs. cost: in units of one multiply-add of a contraction.
    once: it must run exactly once, where it stands (effects, barriers).
    """

    equations: tuple[Equation, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    in_place: tuple[int, ...]
    scratch: int
    cost: float
    once: bool
    carried: tuple[tuple[int, int], ...] = ()

    @property
    def main(self) -> Equation:
        return self.equations[-1]


@dataclass(frozen=True)
class Steps:
    """A graph as steps in program order. `values[b]` is what buffer b holds, `sizes[b]` its bytes
    (none for outputs of the graph and what is in the host's memory), `maker[b]` the step that
    writes it."""

    graph: Graph
    steps: tuple[Step, ...]
    values: tuple[Value, ...]
    sizes: tuple[int, ...]
    maker: tuple[int, ...]

    @property
    def cost(self) -> float:
        return sum(step.cost for step in self.steps)


def steps_of(graph: Graph) -> Steps:
    """The steps of a graph, found once."""
    found: Steps = memoised(graph, "steps", lambda: _Grouping(graph).build())
    return found


def peak_bytes(graph: Graph) -> int:
    """The peak of temporary memory, in program order."""
    return usage(steps_of(graph), range(len(steps_of(graph).steps))).peak


# -- grouping --------------------------------------------------------------------------------------


class _Grouping:
    """Decides what of a graph is stored, and gathers the rest into the steps that read it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers: dict[Atom, Equation] = {v: e for e in graph.equations for v in e.outputs}
        self.root: dict[Atom, int | None] = dict.fromkeys(graph.inputs)
        self.readers: dict[Atom, list[Equation]] = {}
        for eqn in graph.equations:
            if eqn.primitive.name == "random_bits":
                self.readers.update({v: [] for v in eqn.outputs})
            for x in eqn.inputs:
                if x in self.readers:
                    self.readers[x].append(eqn)
        self.is_output = {x for x in graph.outputs if not isinstance(x, Literal)}
        self.stored = stored_equations(graph)
        self.elsewhere = places_of(graph).on_host
        self.of_loops: set[int] = set()  # XLA writes nothing over what a loop made

    def build(self) -> Steps:
        values: list[Value] = []
        sizes: list[int] = []
        maker: list[int] = []
        steps: list[Step] = []
        outputs = self._output_roots()
        for eqn in self.graph.equations:
            if eqn not in self.stored:
                continue
            writes = []
            if fusion.passes_on(eqn):
                for x, y in zip(eqn.inputs, eqn.outputs, strict=True):
                    self.root[y] = self._roots(x)
            else:
                for v in eqn.outputs:
                    self.root[v] = len(values)
                    writes.append(len(values))
                    values.append(v)
                    away = v in outputs or v in self.elsewhere
                    sizes.append(0 if away else self._stored_bytes(eqn, v))
                    maker.append(len(steps))
            stored = sum([sizes[b] for b in writes])
            steps.append(self._step(eqn, tuple(writes), stored))
        return Steps(self.graph, tuple(steps), tuple(values), tuple(sizes), tuple(maker))

    def _stored_bytes(self, eqn: Equation, v: Value) -> int:
        if v in self.readers and all(map(_fuses, self.readers[v])):
            return fusion.stored_bytes(eqn, v)
        return int(v.type.nbytes)

    def _output_roots(self) -> set[Atom]:
        """The values that become outputs of the graph, seen through views."""
        found: set[Atom] = set()
        for x in self.is_output:
            value: Atom = x
            while value in self.makers and fusion.is_view(self.makers[value]):
                value = self.makers[value].inputs[0]
            found.add(value)
        return found

    def _roots(self, x: Atom) -> int | None:
        """The buffer behind a value that is stored, an input, or a view of one."""
        while x not in self.root:
            if isinstance(x, Literal):
                return None
            maker = self.makers[x]
            if not fusion.is_view(maker):
                return None
            x = maker.inputs[0]
        return self.root[x]

    def _step(self, eqn: Equation, writes: tuple[int, ...], stored: int) -> Step:
        fused, reads, elementwise = self._gather(eqn)
        if fusion.passes_on(eqn):
            cost = sum(map(_weight, fused))
        else:
            touched = (*eqn.outputs, *[x for x in eqn.inputs if x in self.root])
            cost = sum(map(_weight, (*fused, eqn))) + _BYTE * sum(x.type.nbytes for x in touched)
        name = eqn.primitive.name
        in_place: Iterable[int] = elementwise if fusion.is_fusible(eqn) else ()
        if name in fusion.IN_PLACE:
            target = self._roots(eqn.inputs[0])
            in_place = () if target is None else (target,)
        return Step(
            equations=(*fused, eqn),
            reads=tuple(reads),
            writes=writes,
            in_place=tuple([b for b in in_place if b not in self.of_loops]),
            scratch=scratch_bytes(eqn, stored),
            cost=cost,
            once=bool(eqn.effects) or fusion.passes_on(eqn),
            carried=self._carried(eqn, writes),
        )

    def _carried(self, eqn: Equation, writes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """What a loop carries, as the buffers before and after; each of the former once."""
        if eqn.primitive.name not in LOOPS:
            return ()
        self.of_loops.update(writes)
        pairs: dict[int, int] = {}
        for x, b in zip(carry_of(eqn), writes, strict=False):
            root = self._roots(x)
            if root is not None:
                pairs.setdefault(root, b)
        return tuple(pairs.items())

    def _gather(self, eqn: Equation) -> tuple[list[Equation], dict[int, None], list[int]]:
        """The equations fused into one, in program order; the buffers they read; those of them
        that are read element by element."""
        fused: list[Equation] = []
        reads: dict[int, None] = {}
        moved: set[int] = set()
        straight: set[int] = set()
        seen: set[tuple[Atom, bool]] = set()
        done: set[Equation] = set()
        stack: list[tuple[Atom | Equation, bool]] = [
            (x, _is_straight(eqn)) for x in reversed(eqn.inputs)
        ]
        while stack:
            item, is_straight = stack.pop()
            if isinstance(item, Equation):
                if item not in done:
                    done.add(item)
                    fused.append(item)
                continue
            if isinstance(item, Literal) or (item, is_straight) in seen:
                continue
            seen.add((item, is_straight))
            if item in self.root:
                root = self.root[item]
                if root is not None:
                    reads.setdefault(root)
                    (straight if is_straight else moved).add(root)
                continue
            maker = self.makers[item]
            below = is_straight and (_is_straight(maker) or fusion.is_view(maker))
            stack.append((maker, is_straight))
            stack.extend((x, below) for x in reversed(maker.inputs))
        return fused, reads, [b for b in reads if b in straight and b not in moved]


def _is_straight(eqn: Equation) -> bool:
    return eqn.primitive.elementwise or eqn.primitive.name in (
        "select_n", "clamp", "convert_element_type", "reduce_precision",
    )  # fmt: skip


# -- costs of steps --------------------------------------------------------------------------------

_BYTE = 2.0
_FUNCTION = 16.0
_HASH = 500.0
"""Of a random number: twenty rounds over memory on CPUs, where it was measured beside a product."""
_DRAWN = 16
"""Bytes for each number while it is drawn: the two words that the rounds of a hash carry, twice."""


def _fuses(eqn: Equation) -> bool:
    return fusion.fuses_operands(eqn) or fusion.is_view(eqn)


def _weight(eqn: Equation) -> float:
    """Time, in units of a multiply-add of a contraction: functions of one element cost several."""
    if eqn.primitive.family in ("contraction", "linalg"):
        return equation_cost(eqn).flops / 2
    if eqn.primitive.name == "random_bits":
        return _HASH * eqn.outputs[0].type.size
    if eqn.primitive.has_regions:
        cost = equation_cost(eqn)
        return cost.flops / 2 + _BYTE * cost.bytes / 4
    if fusion.is_fusible(eqn):
        each = _FUNCTION if fusion.is_expensive(eqn) else 0.5
        return each * sum(v.type.size for v in eqn.outputs)
    return float(equation_cost(eqn).flops) + _BYTE * traffic(eqn) / 4


def scratch_bytes(eqn: Equation, stored: int = 0) -> int:
    """Bytes that an equation needs only while it runs, beside the `stored` ones of its outputs."""
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        return _moved_operands(eqn)
    if name == "random_bits":
        return _DRAWN * int(eqn.outputs[0].type.size) - stored
    if not eqn.primitive.has_regions:
        return 0
    found = [body_bytes(graph) for graph in eqn.regions()]
    if name == "while":
        return int(max(found) + sum(x.type.nbytes for x in moving_outputs(params["body_graph"])))
    return max(found, default=0) + _room_for_states(eqn)


def _room_for_states(eqn: Equation) -> int:
    """Bytes of the states that a loop keeps while it runs backwards from some of them."""
    if eqn.primitive.name != "rewind" or len(eqn.params["positions"]) == eqn.params["length"]:
        return 0
    rows = [x.type for x in rewind_groups(eqn, eqn.inputs)[2]]
    state = sum(t.nbytes // t.shape[0] for t in rows)
    missing = eqn.params["snapshots"] - len(eqn.params["positions"])
    return int(state * (1 + (eqn.params["snapshots"] if missing else 0)))


def body_bytes(graph: Graph) -> int:
    """What one iteration of a body needs: its peak, with its outputs."""
    if "body bytes" not in graph.derived:
        for callee in walk_graphs(graph):
            memoised(callee, "body bytes", partial(_body_bytes, callee))
    found: int = graph.derived["body bytes"]
    return found


def _body_bytes(graph: Graph) -> int:
    program = steps_of(graph)
    base: int = usage(program, range(len(program.steps))).peak
    made = set(moving_outputs(graph)) - places_of(graph).on_host
    return base + sum(v.type.nbytes for v in program.values if v in made)


def _moved_operands(eqn: Equation) -> int:
    """Bytes of the operands of a contraction that are transposed before it."""
    (contracted, batch) = eqn.params["dimension_numbers"]
    moved = 0
    for x, axes, batch_axes in zip(eqn.inputs, contracted, batch, strict=True):
        rank = len(x.type.shape)
        free = [i for i in range(rank) if i not in axes and i not in batch_axes]
        n = len(batch_axes)
        groups = [*batch_axes, *free, *axes], [*batch_axes, *axes, *free]
        if list(batch_axes) != list(range(n)) or list(range(rank)) not in map(list, groups):
            moved += x.type.nbytes
    return moved
