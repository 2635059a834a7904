"""Values behind a recording, for Python that branches on them.

Under un-jitted transformations Python may ask for a value (`if x > 0`), as it may in JAX. The part
of the graph that the value depends on is evaluated then, from the concrete inputs, and remembered;
nobody asks, nothing runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.graph import Atom, Equation, Graph, Literal, Value
from .export import eval_graph
from .graph_trace import GraphTrace
from .jax_compat import Tracer, computing_now


class KnownValues:
    """The concrete values of one recording: those of its inputs, and what was computed from them.

    `leaves` are the inputs' values, in order; None, or a tracer that has no value, is an unknown.
    """

    def __init__(self, leaves: Sequence[Any]) -> None:
        self._leaves = leaves
        self._values: dict[Value, Any] = {}
        self._unknown: set[Value] = set()

    def bind(self, inputs: Sequence[Value]) -> None:
        """Say which values the leaves are those of. Tracers are asked only when it is needed."""
        self._inputs = dict(zip(inputs, self._leaves, strict=True))

    def value_of(self, trace: GraphTrace, atom: Atom) -> Any | None:
        """The concrete value of an atom of the recording, or None if it has none."""
        if isinstance(atom, Literal):
            return atom.value
        if atom not in self._values and atom not in self._unknown:
            self._compute(trace, atom)
        return self._values.get(atom)

    def _compute(self, trace: GraphTrace, value: Value) -> None:
        """Evaluate the equations that a value depends on and that were not evaluated before."""
        needed = self._needed(trace, value)
        if needed is None:
            self._unknown.add(value)
            return
        inputs = dict.fromkeys(
            x for eqn in needed for x in eqn.inputs if isinstance(x, Value) and x in self._values
        )
        made = [v for eqn in needed for v in eqn.outputs]
        graph = Graph(inputs, needed, made, "known")
        with computing_now():
            found = eval_graph(graph, [self._values[v] for v in inputs])
        self._values.update(zip(made, found, strict=True))

    def _needed(self, trace: GraphTrace, value: Value) -> list[Equation] | None:
        """Those equations, callees of the data flow first; None if an input has no value."""
        order: dict[Equation, None] = {}
        stack: list[tuple[Value, bool]] = [(value, False)]
        while stack:
            v, done = stack.pop()
            eqn = trace.builder.definition(v)
            if done and eqn is not None:
                order.setdefault(eqn)
                continue
            if v in self._values or eqn in order:
                continue
            if v in self._unknown:
                return None
            if eqn is None:
                if not self._read_input(trace, v):
                    return None
                continue
            if eqn.effects:  # evaluated now and again in the program, it would happen twice
                return None
            stack.append((v, True))
            stack.extend((x, False) for x in eqn.inputs if isinstance(x, Value))
        return list(order)

    def _read_input(self, trace: GraphTrace, value: Value) -> bool:
        """Take the value of an input or of a captured tracer, if it has one."""
        found = self._inputs.get(value)
        if found is None:
            found = next((x for x, v in trace.captured.values() if v is value), None)
        if isinstance(found, Tracer):
            found = found.to_concrete_value()
        if found is None:
            self._unknown.add(value)
            return False
        self._values[value] = found
        return True
