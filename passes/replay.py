"""Equations recorded once and made again on other operands, without the rule that wrote them.

    recorded on x:  a = cos x; dy = mul dx a        made again on u:  b = cos u; dv = mul du b

The builder folds and reuses what is made again as it does for a rule. What a rule would have
written must depend on nothing but the kind of the operands: see `kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from ..ir.builder import Builder, Zero
from ..ir.graph import Equation, Literal, Params, Value
from ..ir.primitive import Primitive
from ..ir.types import TensorType

Types = tuple[TensorType, ...]
Step = tuple[Primitive, Params, Callable[[Any], Any], bool, Types, "tuple[Any, ...] | None"]
"""A primitive, its parameters, what picks its operands, whether it picks one only, and the types of
its outputs; and, where some of these are values that were given, the position of each, or the value
it is like."""


class Recorder:
    """Numbers values in the order in which a replay has them: first those given, then the outputs
    of each step."""

    def __init__(self, given: Sequence[Any]) -> None:
        self.position: dict[Any, int] = {}
        self.count = 0
        self.enter(given)

    def copy(self) -> Recorder:
        other = Recorder(())
        other.position, other.count = dict(self.position), self.count
        return other

    def enter(self, values: Sequence[Any]) -> None:
        """Number values; None takes a number that nothing has."""
        for value in values:
            self.position.setdefault(value, self.count)
            self.count += 1

    def step(self, eqn: Equation) -> Step:
        """The step that makes the equation again; its outputs are numbered."""
        at = [self.position[x] for x in eqn.inputs]
        defined = None
        if any([y in self.position for y in eqn.outputs]):
            defined = tuple([self.position.get(y, y) for y in eqn.outputs])
        self.enter(eqn.outputs)
        pick = itemgetter(*at) if at else _nothing
        types = tuple([y.type for y in eqn.outputs])
        return eqn.primitive, eqn.params, pick, len(at) == 1, types, defined


def _nothing(values: Any) -> tuple[()]:
    return ()


def literals_of(equations: Sequence[Equation], atoms: Sequence[Any] = ()) -> list[Literal]:
    """The literals that equations read, and those among the atoms, each once."""
    read = [x for eqn in equations for x in eqn.inputs]
    return [x for x in dict.fromkeys([*read, *atoms]) if x.__class__ is Literal]


def replay(b: Builder, steps: Sequence[Step], values: list[Any]) -> None:
    """Make the steps' equations on values of the types that they were recorded on; their outputs
    follow the given values."""
    for primitive, params, pick, is_one, types, defined in steps:
        inputs = (pick(values),) if is_one else pick(values)
        if defined is None:
            values += b.emit_atoms(primitive, inputs, params, types)
        else:
            outputs = tuple([_output(values, y) for y in defined])
            b.append(Equation(primitive, inputs, outputs, params, b.location, b.origin))
            values += outputs


def _output(values: list[Any], like: Any) -> Any:
    return Value(like.type, like.name) if like.__class__ is Value else values[like]


class Recorded:
    """Equations that a rule made of given values, and what it returned: made again of others.

    Symbolic zeros may be among what is given and what is returned.
    """

    __slots__ = ("_literals", "_outputs", "_steps")

    def __init__(
        self, given: Sequence[Any], equations: Sequence[Equation], outputs: Sequence[Any]
    ) -> None:
        self._literals = tuple(literals_of(equations, outputs))
        recorder = Recorder((*given, *self._literals))
        self._steps = tuple([recorder.step(eqn) for eqn in equations])
        at = recorder.position
        self._outputs = tuple([x if x.__class__ is Zero else at[x] for x in outputs])

    def make(self, b: Builder, given: Sequence[Any]) -> list[Any]:
        """What the rule would return, given values of the same types."""
        values = [*given, *self._literals]
        replay(b, self._steps, values)
        return [values[i] if i.__class__ is int else i for i in self._outputs]
