"""From an equation of a derivative program back to the equation that it was derived from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .graph import Equation

FORWARD: Final = "forward"
DERIVATIVE: Final = "derivative"
BACKWARD: Final = "backward"


def role_of(eqn: Equation) -> str:
    """Whether an equation is of the program, of its derivative at a point, or of its transpose."""
    steps = set(steps_of(eqn))
    return BACKWARD if "transpose" in steps else DERIVATIVE if "jvp" in steps else FORWARD


def steps_of(eqn: Equation) -> Iterator[str]:
    """The steps that led to an equation, last first."""
    while eqn.origin is not None:
        yield eqn.origin.step
        eqn = eqn.origin.equation


def primal_of(eqn: Equation) -> Equation:
    """The equation of the program that an equation was derived from; itself if from none."""
    while eqn.origin is not None:
        eqn = eqn.origin.equation
    return eqn
