"""A number that is not finite as the rules of `remedies` see it, and what they say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir.graph import Equation
from ..ir.origins import FORWARD, primal_of, role_of
from .derivations import Path, PrimalTexts
from .nonfinite import Source


@dataclass(frozen=True)
class Advice:
    """pattern: a word for the kind; claim: why it happens here; remedy: what to write instead."""

    pattern: str
    claim: str
    remedy: str


@dataclass(frozen=True)
class Case:
    """The equation of the program that is at fault, what it reads there, and how one came to it.

    source: where NaN (or, without any, infinity) is first made; fault: the same, or what made the
    infinity that became NaN. operands are None where they are not known. unseen: the program's own
    results are finite, so that what it makes on the way to them is left out of them.
    """

    source: Source
    texts: PrimalTexts
    path: Path
    unseen: bool = False
    fault: Source = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fault", self.source.cause or self.source)

    @property
    def equation(self) -> Equation:
        return primal_of(self.fault.equation)

    @property
    def name(self) -> str:
        return self.equation.primitive.name

    @property
    def is_derivative(self) -> bool:
        return role_of(self.fault.equation) != FORWARD

    @property
    def operands(self) -> list[Any]:
        """What the primal equation reads: the elements concerned, or the whole arrays."""
        wholes = [self.whole(x) for x in self.equation.inputs]
        return [x if x is None else self.fault.at_element(x) for x in wholes]

    def whole(self, x: Any) -> Any:
        """The array of an operand, as far as it is known."""
        if hasattr(x, "value"):
            return x.value
        for frame in reversed(self.fault.frames):
            if x in frame.values:
                return frame.values[x]
        return None

    def called(self, i: int) -> str:
        """What to call an operand in a remedy: its name in the program, or x, y."""
        return getattr(self.equation.inputs[i], "name", None) or "xyz"[min(i, 2)]

    def said(self, i: int) -> str:
        """An operand as Python: its number, or what it is called."""
        x = self.equation.inputs[i]
        return f"{x.value}" if hasattr(x, "value") else self.called(i)

    def readers(self, eqn: Equation) -> list[Equation]:
        return [r for v in eqn.outputs for r in self.texts.readers.get(v, ())]


def number(x: Any) -> str:
    """The number that an array is, or that there are several."""
    flat = np.ravel(x)
    return f"{flat[0]:g}" if flat.size == 1 else "some elements"


def short(text: str) -> str:
    """A text of at most 80 characters."""
    return text if len(text) <= 80 else text[:77] + "..."
