"""Stacks: loops hand on less to later loops.

    hs, ds = scan { h = tanh (dot x w); d = 1 - h*h; x <- h } (stacks of x and of d)
    ...scan { ... d ... x ... } (slices of ds and hs)
=>
    hs = scan { h = tanh (dot x w); x <- h } (a stack of x)
    ...scan { h = the next x; d = 1 - h*h; ... } (slices of hs)

What the later loops slice is chosen anew, as a minimum cut of bytes: of the values of the first
loop's body, those from which cheap operations give all that is wanted.

Law: the same outputs. The operations that run again are those that a compiler fuses into their
readers; no contraction, no function of an element, no random draw is computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ..ir.builder import Builder
from ..ir.graph import Atom, Equation, Graph, Value, transformed
from ..ir.ops.control import scan, scan_sizes, split_sizes
from ..ir.types import INT32, TensorType
from .base import Pass
from .dce import is_same, remove_dead
from .handed_on import Handed, Neighbour
from .regions import equation, with_regions_changed

WORTH: Final = 4096
"""Bytes an iteration for which a compiled program is changed: tiny operations cost more."""


def with_fewer_stacks(graph: Graph, least: int = 0, fused: bool = False) -> Graph:
    """The graph, and all that it holds, with the least stacked from loop to loop.

    Loops that would save less than `least` bytes an iteration stay as they are. With `fused`, not
    only what is cheap is computed again, but all functions of single elements.
    """
    key = ("fewer stacks", least, fused)

    def change(graph: Graph) -> Graph:
        equations = with_regions_changed(graph, key)
        if sum(e.primitive is scan for e in equations) > 1:
            equations = _Chain(graph, equations, least, fused).build()
        if is_same(equations, graph.equations):
            return graph
        return remove_dead(graph.with_equations(equations))

    return transformed(graph, key, change)


class _Chain:
    """The loops of one graph. before: equations to put in front of a loop."""

    def __init__(
        self, graph: Graph, equations: list[Equation], least: int, fused: bool = False
    ) -> None:
        self.least, self.fused = least, fused
        self.equations = equations
        self.outputs = set(graph.outputs)
        self.given = {*graph.inputs, *graph.outputs}
        self.readers: dict[Any, list[int]] = {}
        for i, eqn in enumerate(equations):
            for x in dict.fromkeys(eqn.inputs):
                self.readers.setdefault(x, []).append(i)
        self.before: dict[int, list[Equation]] = {}

    def build(self) -> list[Equation]:
        for i, eqn in enumerate(self.equations):
            if eqn.primitive is scan:
                self._hand_on_less(i)
        return [e for i, eqn in enumerate(self.equations) for e in (*self.before.get(i, ()), eqn)]

    def _hand_on_less(self, i: int) -> None:
        loop = self.equations[i]
        stacks = loop.outputs[scan_sizes(loop)[1] :]
        private = [self._is_private(v, loop) for v in stacks]
        handed = Handed.of(loop, private, self.given, self.fused)
        if handed is None or not handed.pays(self.least):
            return
        new = _stacking(handed)
        self.equations[i] = new.loop
        readers = sorted({r for v in handed.wanted for r in self.readers.get(v, ())})
        for r in readers:
            b = Builder()
            b.location = self.equations[r].location
            self.equations[r] = _Reading(b, self.equations[r], handed, new.stacks).build()
            self.before.setdefault(r, []).extend(b.equations)

    def _is_private(self, v: Value, loop: Equation) -> bool:
        """Whether only loops over as many slices read a stack, slice by slice."""
        readers = [self.equations[r] for r in self.readers.get(v, ())]
        if v in self.outputs or not readers:
            return False
        for eqn in readers:
            if eqn.primitive is not scan or eqn.params["length"] != loop.params["length"]:
                return False
            if any(x is v for x in eqn.inputs[: sum(scan_sizes(eqn))]):
                return False
        return True


@dataclass(frozen=True)
class _Stacked:
    """The first loop as it now is, and its stacks by the value of its body."""

    loop: Equation
    stacks: dict[Value, Atom]


def _stacking(handed: Handed) -> _Stacked:
    """The first loop with other stacks; those of before stay where others than loops read them."""
    loop, body = handed.loop, handed.body
    n_carry, length = scan_sizes(loop)[1], loop.params["length"]
    pairs = list(zip(body.outputs, loop.outputs, strict=True))
    kept = [*pairs[:n_carry], *(p for p in pairs[n_carry:] if p[1] not in handed.wanted)]
    stacks: dict[Value, Atom] = {}
    for v in handed.saved:
        if v not in handed.outside:
            old = next((y for y, x in handed.wanted.items() if x is v), None)
            stack = old or Value(v.type.with_shape((length, *v.type.shape)), v.name)
            stacks[v] = stack
            kept.append((v, stack))
    graph = Graph(body.inputs, body.equations, [x for x, _ in kept], body.name)
    params = {**loop.params, "graph": remove_dead(graph)}
    return _Stacked(equation(scan, loop.inputs, [y for _, y in kept], params, loop), stacks)


class _Reading:
    """A later loop that computes again what it used to slice.

    consts, slices: what it reads beside what it did, each with the input of the new body.
    """

    def __init__(
        self, b: Builder, eqn: Equation, handed: Handed, stacks: dict[Value, Atom]
    ) -> None:
        self.b, self.eqn, self.handed, self.stacks = b, eqn, handed, stacks
        self.consts: dict[Atom, Value] = {}
        self.slices: dict[Atom, Value] = {}
        self.inner = Builder()
        self.env: dict[Any, Any] = {}

    def build(self) -> Equation:
        eqn, handed = self.eqn, self.handed
        graph: Graph = eqn.params["graph"]
        sizes = scan_sizes(eqn)
        consts, carry, xs = split_sizes(eqn.inputs, sizes)
        inner = [[Value(v.type, v.name) for v in g] for g in split_sizes(graph.inputs, sizes)]
        arguments = [*inner[0], *inner[1]]
        kept: list[tuple[Value, Atom]] = []
        for v, x in zip(inner[2], xs, strict=True):
            if x in handed.wanted:
                arguments.append(self._value(handed.wanted[x]))
            else:
                arguments.append(v)
                kept.append((v, x))
        outputs = self.inner.inline(graph, arguments)
        inputs = [*inner[0], *self.consts.values(), *inner[1], *(v for v, _ in kept)]
        body = Graph([*inputs, *self.slices.values()], self.inner.equations, outputs, graph.name)
        operands = [*consts, *self.consts, *carry, *(x for _, x in kept), *self.slices]
        params = {**eqn.params, "graph": body, "num_consts": len(consts) + len(self.consts)}
        return equation(scan, operands, eqn.outputs, params, eqn)

    def _value(self, wanted: Atom) -> Any:
        """A value of the first loop's iteration, in this one."""
        handed, stack = self.handed, [wanted]
        while stack:
            v = stack[-1]
            if v in self.env or not isinstance(v, Value):
                stack.pop()
                continue
            if v in handed.saved or v in handed.outside:
                self.env[v] = self._read(v)
                continue
            if v in handed.neighbours:
                self.env[v] = self._neighbour(handed.neighbours[v])
                continue
            maker = handed.makers[v]
            missing = [x for x in maker.inputs if isinstance(x, Value) and x not in self.env]
            if missing:
                stack.extend(missing)
                continue
            self.inner.location = maker.location
            inputs = [self.env.get(x, x) for x in maker.inputs]
            made = self.inner.emit(maker.primitive, *inputs, **maker.params)
            self.env.update(zip(maker.outputs, made, strict=True))
        return self.env.get(wanted, wanted)

    def _read(self, v: Value) -> Value:
        kind, operand = self.handed.outside.get(v) or ("xs", self.stacks[v])
        table = self.consts if kind == "const" else self.slices
        return table.setdefault(operand, Value(v.type, v.name))

    def _neighbour(self, found: Neighbour) -> Any:
        """The value of the iteration before or after: a row of the whole stack."""
        b, length = self.inner, self.eqn.params["length"]
        kind_and_stack = self.handed.outside.get(found.of)
        stack = kind_and_stack[1] if kind_and_stack else self.stacks[found.of]
        whole = self.consts.setdefault(stack, Value(stack.type, stack.name))
        edge = self.consts.setdefault(found.at_edge, Value(found.at_edge.type))
        shape = found.of.type.shape
        i = self._position(length)
        limit, zero = b.literal(max(found.edge, 0), i.type), b.literal(0, i.type)
        row = b.add(i, b.literal(found.row, i.type))
        row = b.min(row, limit) if found.edge else b.max(row, zero)
        sizes = (1, *shape)
        slice_ = b.dynamic_slice(whole, row, *[zero] * len(shape), slice_sizes=sizes)
        there = b.reshape(slice_, new_sizes=shape)
        return b.select_n(b.eq(i, b.literal(found.edge, i.type)), there, edge)

    def _position(self, length: int) -> Value:
        """The number of the slice that an iteration reads."""
        type = TensorType((length,), INT32)
        count = self.b.iota(dtype=INT32, shape=(length,), dimension=0)
        return self.slices.setdefault(count, Value(type.with_shape(()), "i"))


@dataclass(frozen=True)
class Stacks(Pass):
    """Stack less for later loops: of what they read, what is cheap is computed again from less.

    Option least: the bytes that it must save a loop in each iteration.
    """

    name: ClassVar[str] = "stacks"
    law: ClassVar[str] = "equal outputs"

    least: int = 0

    def run_graph(self, graph: Graph) -> Graph:
        return with_fewer_stacks(graph, self.least)
