"""Values behind a recording, for Python that branches on them.

Under un-jitted transformations Python may ask for a value (`if x > 0`), as it may in JAX. The part
of the graph that the value depends on is evaluated then, from the concrete inputs, and remembered;
nobody asks, nothing runs.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..ir.builder import Builder
from ..ir.graph import Atom, Equation, Graph, Literal, Value
from .cells import is_ref
from .export import eval_graph
from .graph_trace import GraphTrace, GraphTracer
from .jax_compat import Tracer, computing_now, current_trace, is_eager


class Promise:
    """A value that is there for whoever uses it, and is computed by the first who does.

    JAX asks many operands whether they are concrete without a use for the value: it gets one of
    these. Used as a number or an array, it is the value.
    """

    __slots__ = ("_atom", "_known", "_trace")

    def __init__(self, known: KnownValues, trace: GraphTrace | Place, atom: Value) -> None:
        self._known, self._trace, self._atom = known, trace, atom

    def value(self) -> Any:
        return self._known.computed(self._trace, self._atom)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value(), name)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return np.asarray(self.value()).__array__(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self.value())

    def __int__(self) -> int:
        return int(self.value())

    def __index__(self) -> int:
        return operator.index(self.value())  # a TypeError for floats, which JAX counts on

    def __float__(self) -> float:
        return float(self.value())

    def __complex__(self) -> complex:
        return complex(self.value())

    def __len__(self) -> int:
        return len(self.value())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value())

    def __getitem__(self, key: Any) -> Any:
        return self.value()[key]

    def __eq__(self, other: Any) -> Any:
        return self.value() == other

    def __lt__(self, other: Any) -> Any:
        return self.value() < other

    def __le__(self, other: Any) -> Any:
        return self.value() <= other

    def __gt__(self, other: Any) -> Any:
        return self.value() > other

    def __ge__(self, other: Any) -> Any:
        return self.value() >= other

    def __hash__(self) -> int:
        return hash(self._atom)

    def __repr__(self) -> str:
        return repr(self.value())

    def __str__(self) -> str:
        return str(self.value())


class Place:
    """A program that is being made of a recording, whose inputs have the recording's values."""

    __slots__ = ("builder", "captured", "known")

    def __init__(self, builder: Builder, known: KnownValues) -> None:
        self.builder, self.known, self.captured = builder, known, known.captured


class Later:
    """What a recording has for one of its atoms, asked when the recording may be over; or what
    another has, `otherwise`."""

    __slots__ = ("_atom", "_otherwise", "_trace")

    def __init__(
        self, trace: GraphTrace | Place, atom: Atom, otherwise: Later | None = None
    ) -> None:
        self._trace, self._atom, self._otherwise = trace, atom, otherwise

    def value(self) -> Any | None:
        known = self._trace.known
        found = None if known is None else known.value_of(self._trace, self._atom)
        if found is None and self._otherwise is not None:
            return self._otherwise.value()
        return found


def _without_tracer(x: Any) -> Any:
    """A leaf without the tracer that it may be: rules outlive the call, and must not keep it."""
    if isinstance(x, GraphTracer):
        return Later(x._trace, x.atom)
    return weakref.ref(x) if isinstance(x, Tracer) else x


def forced(x: Any) -> Any:
    """What a promise promises; anything else as it is."""
    return x.value() if isinstance(x, Promise) else x


class KnownValues:
    """The concrete values of one recording: those of its inputs, and what was computed from them.

    `leaves` are the inputs' values, in order; None, or a tracer that has no value, is an unknown.
    `has_arrays` says that in JAX the inputs would be arrays, which Python may convert as well.
    `eager` says that in JAX the operations would be run one by one, nothing being jitted.
    """

    def __init__(self, leaves: Sequence[Any], has_arrays: bool = False) -> None:
        self.has_arrays = has_arrays
        self.eager = is_eager()
        self._leaves = [_without_tracer(x) for x in leaves]
        self._inputs: dict[Value, Any] = {}
        self._values: dict[Value, Any] = {}
        self._knowable: dict[Value, bool] = {}
        self.captured: dict[int, tuple[Any, Value]] = {}

    @classmethod
    def of_leaves(cls, leaves: Sequence[Any]) -> KnownValues | None:
        """Those of a recording of a function of these leaves. None where there can be none: in a
        recording that has no values itself, of leaves that are traced there."""
        around = current_trace()
        if around.__class__ is not GraphTrace or around.known is not None:
            return cls(leaves)
        is_traced = [x is None or getattr(x, "_trace", None) is around for x in leaves]
        return None if all(is_traced) else cls(leaves)

    def forget(self) -> None:
        """Let go of the values, when the call is over that they are of."""
        self._leaves = [None] * len(self._leaves)
        self._inputs = dict.fromkeys(self._inputs)
        self._values.clear()
        self._knowable.clear()

    def bind(
        self, inputs: Sequence[Value], captured: dict[int, tuple[Any, Value]] | None = None
    ) -> None:
        """Say which values the leaves are those of, and where captured tracers will be found.
        Tracers are asked only when it is needed."""
        if captured is not None:
            self.captured = captured
        self._inputs = dict(zip(inputs, self._leaves, strict=True))

    def note(self, value: Value, found: Any) -> None:
        """Say what the value of a captured input is, where that is not what was captured: of a
        mutable array, what it held then."""
        self._inputs[value] = found

    def tells(self, builder: Builder, operands: Sequence[Atom]) -> bool:
        """Whether a rule for these operands of a program that is being made can differ from the one
        for others: Python may branch on a value, or nothing is jitted and it is seen to run."""
        place = Place(builder, self)
        return self.eager or any([self.value_of(place, x) is not None for x in operands])

    def value_of(self, trace: GraphTrace | Place, atom: Atom) -> Any | None:
        """The concrete value of an atom of the recording, as a promise if it must be computed
        first; None if it has none.
        """
        if isinstance(atom, Literal):
            return atom.value
        if atom in self._values:
            return self._values[atom]
        return Promise(self, trace, atom) if self._is_knowable(trace, atom) else None

    def computed(self, trace: GraphTrace | Place, value: Value) -> Any:
        """A value that can be known, computed with all that it depends on."""
        if value not in self._values:
            self._compute(trace, value)
        value_ = self._values[value] = forced(self._values[value])
        return value_

    def _is_knowable(self, trace: GraphTrace | Place, value: Value) -> bool:
        """Whether all that a value depends on can be known, and can be computed twice."""
        known = self._knowable
        path: list[tuple[Any, Iterator[Atom]]] = [(None, iter((value,)))]
        while path:
            v, rest = path[-1]
            x = next(rest, None)
            if x is None:
                known[v] = True
                path.pop()
            elif not isinstance(x, Literal) and x not in self._values and not known.get(x):
                operands = None if x in known else self._operands(trace, x)
                if operands is None:  # and so all on the path
                    known.update(dict.fromkeys([x, *[v for v, _ in path]], False))
                    return False
                path.append((x, iter(operands)))
        return True

    def _operands(self, trace: GraphTrace | Place, value: Value) -> Sequence[Atom] | None:
        """What a value is computed from; None if it cannot be known."""
        eqn = trace.builder.definition(value)
        if eqn is None:
            return () if self._read_input(trace, value) else None
        # evaluated now and again in the program, an effect would happen twice
        return None if eqn.effects else eqn.inputs

    def _compute(self, trace: GraphTrace | Place, value: Value) -> None:
        """Evaluate the equations that a value depends on and that were not evaluated before."""
        needed = self._needed(trace, value)
        inputs = dict.fromkeys(
            x for eqn in needed for x in eqn.inputs if isinstance(x, Value) and x in self._values
        )
        made = [v for eqn in needed for v in eqn.outputs]
        graph = Graph(inputs, needed, made, "known")
        with computing_now():
            found = eval_graph(graph, [forced(self._values[v]) for v in inputs])
        self._values.update(zip(made, found, strict=True))

    def _needed(self, trace: GraphTrace | Place, value: Value) -> list[Equation]:
        """Those equations, in the order of the data flow."""
        order: dict[Equation, None] = {}
        stack: list[tuple[Value, bool]] = [(value, False)]
        while stack:
            v, done = stack.pop()
            eqn = trace.builder.definition(v)
            if eqn is None or v in self._values or eqn in order:
                continue
            if done:
                order.setdefault(eqn)
                continue
            stack.append((v, True))
            stack.extend((x, False) for x in eqn.inputs if isinstance(x, Value))
        return list(order)

    def _read_input(self, trace: GraphTrace | Place, value: Value) -> bool:
        """Take the value of an input or of a captured tracer, if it has one."""
        found = self._inputs.get(value)
        if isinstance(found, weakref.ref):
            found = found()
        if isinstance(found, Later):
            found = found.value()
        if found is None:
            found = next((x for x, v in trace.captured.values() if v is value), None)
        if is_ref(found):
            return False
        if isinstance(found, Tracer):
            found = found.to_concrete_value()
        if found is None:
            return False
        self._values[value] = found
        return True
