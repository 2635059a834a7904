"""Whether equations are linear in what depends on tangents: what only a rule of the user's may not
be, since what derivative passes write is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

from ..ir.builder import Builder
from ..ir.errors import PassError
from ..ir.graph import Equation, Literal
from ..ir.types import is_inexact
from .tables import NOT_LINEAR

_JOINED: Final = frozenset({"concatenate", "stack", "select_n"})
"""Linear in their float operands together, which are too many or too few to be listed."""


def check_linear(b: Builder, eqn: Equation, is_linear: Sequence[bool]) -> None:
    """Raise PassError for an equation that is not linear in these inputs together.

    What is added to them must not be a number other than zero. (An array that depends on primal
    values may be zero, and is taken to be.)
    """
    primitive = eqn.primitive
    if primitive.name == "convert_element_type":
        if is_inexact(eqn.inputs[0].type.dtype) and not is_inexact(eqn.output.type.dtype):
            _fail(eqn, f"{primitive.name} to {eqn.output.type} is not linear in its input")
    elif primitive.jointly_linear or primitive.name in _JOINED:
        positions = primitive.linear_in or range(len(eqn.inputs))
        _check_addends(b, eqn, is_linear, positions)
    elif primitive.linear_in:
        which = [i for i, flag in enumerate(is_linear) if flag]
        if len(which) > 1 or which[0] not in primitive.linear_in:
            several = f"inputs {which} together" if len(which) > 1 else f"input {which[0]}"
            _fail(eqn, f"{primitive.name} is not linear in its {several}")


def _check_addends(
    b: Builder, eqn: Equation, is_linear: Sequence[bool], positions: Sequence[int]
) -> None:
    """Raise PassError for a number that is not the type's zero, or what stands for it: f8_e8m0fnu
    has none."""
    for i in positions:
        x = eqn.inputs[i]
        if is_linear[i] or not is_inexact(x.type.dtype):
            continue
        element = x if isinstance(x, Literal) else b.uniforms.get(x)
        if element is not None and element is not Literal(0, element.type):
            claim = f"{eqn.primitive.name} takes the number {element.value} beside its other inputs"
            _fail(eqn, claim)


def check_reads(
    eqn: Equation, is_linear: Sequence[bool], made: Sequence[Equation], linear: set[Any]
) -> None:
    """Raise PassError if what a transpose rule has made reads a value that depends on tangents."""
    for new in made:
        if not linear.isdisjoint(new.inputs):
            read = [i for i, x in enumerate(eqn.inputs) if is_linear[i] and x in new.inputs]
            which = f"input {read[0]}" if read else "inputs"
            _fail(eqn, f"{eqn.primitive.name} is not linear in its {which}")


def _fail(eqn: Equation, claim: str) -> NoReturn:
    verb = "depend" if "inputs" in claim else "depends"
    raise PassError(f"{claim}, which {verb} on tangents", eqn, stage="transpose", hint=NOT_LINEAR)
