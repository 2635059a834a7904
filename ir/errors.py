"""The errors that users see: a claim, the place, the facts.

A raise site states only the claim and hands over the equation; this file words the rest, so that
every message of the project has one shape:

    TypeRuleError: add needs operands of one dtype
      at mlp.py:12:8
        h: f32[2,4] = add x w
      x: f32[2,4]   w: i32[4]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from .graph import Atom, Equation, Graph, Location


class CovectorError(Exception):
    """Base of all errors that covector raises on purpose.

    Attributes: claim (one sentence: what is wrong), equation, location, stage (the pass or layer
    that noticed), hint (what to do) and reproducer (a file that repeats the failure), each None
    where it does not apply.
    """

    def __init__(
        self,
        claim: str,
        equation: Equation | None = None,
        *,
        location: Location | None = None,
        stage: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.claim = claim
        self.equation = equation
        self.location = location or (equation.location if equation is not None else None)
        self.stage = stage
        self.hint = hint
        self.reproducer: str | None = None
        self.load = ""
        super().__init__(claim)

    def __str__(self) -> str:
        lines = [self.claim]
        place = [f"in {self.stage}"] if self.stage else []
        if self.location is not None:
            place.append(f"at {self.location}")
        if place:
            lines.append("  " + ", ".join(place))
        lines += self.describe()
        if self.hint:
            lines.append(f"  {self.hint}")
        if self.reproducer:
            file = f"{self.reproducer}{self.load}"
            lines.append(f"  to repeat it: covector opt --run-reproducer {file}")
        return "\n".join(line for line in lines if line.strip())

    def as_json(self) -> dict[str, str | None]:
        """What the error says, by part, for programs that read it."""
        equation = describe_equation(self.equation) if self.equation is not None else None
        return {
            "error": type(self).__name__,
            "claim": self.claim,
            "stage": self.stage,
            "location": None if self.location is None else str(self.location),
            "equation": equation,
            "hint": self.hint,
            "reproducer": self.reproducer,
        }

    def describe(self) -> list[str]:
        """The facts: the equation, and its operands with their types."""
        if self.equation is None:
            return []
        equation, operands = describe_equation(self.equation), describe_types(self.equation.inputs)
        return [f"    {equation}", f"  {operands}"]


class TypeRuleError(CovectorError, TypeError, ValueError):
    """A primitive was given operands or parameters that it does not take: what JAX calls, depending
    on the primitive, a TypeError or a ValueError."""


class VerifyError(CovectorError, ValueError):
    """A program breaks a rule of the representation.

    `graph` and `index` say where the equation stands; `excerpt` shows it, with its operands.
    """

    def __init__(
        self,
        claim: str,
        equation: Equation | None = None,
        *,
        graph: Graph | None = None,
        index: int | None = None,
        excerpt: str | None = None,
        stage: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(claim, equation, stage=stage, hint=hint)
        self.graph = graph
        self.index = index
        self.excerpt = excerpt

    def describe(self) -> list[str]:
        return self.excerpt.splitlines() if self.excerpt else super().describe()


class ParseError(CovectorError, ValueError):
    """The text is not a program; the message points at line and column.

    `excerpt` is the line of text and, below it, a caret under the token that is wrong.
    """

    def __init__(
        self,
        claim: str,
        *,
        location: Location | None = None,
        excerpt: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(claim, location=location, hint=hint)
        self.excerpt = excerpt

    def __str__(self) -> str:
        head = self.claim if self.location is None else f"{self.claim}\n  at {self.location}"
        excerpt = [f"    {line}" for line in (self.excerpt or "").splitlines()]
        return "\n".join([head, *excerpt, *([f"  {self.hint}"] if self.hint else [])])


class MissingRule(CovectorError, NotImplementedError):
    """A primitive has no rule in the layer that needed one."""


class NotAvailable(CovectorError):
    """A primitive has no lowering for a platform; it may still run by itself."""


class PassError(CovectorError, ValueError):
    """A pass was asked for something that it cannot do."""


class ClosedOverError(PassError):
    """A derivative is wanted by a value that a function with a rule of its own closes over."""


class UnboundAxisError(CovectorError, NameError):
    """A collective is over an axis of a name that nothing around it binds."""


class UsageError(CovectorError, ValueError):
    """A public function or the command line was called wrongly."""


class ForwardModeError(CovectorError, TypeError):
    """Forward mode was asked of a function that has a rule for reverse mode only."""


class ReverseModeError(PassError, TypeError):
    """Reverse mode was asked of a function that has a rule for forward mode only."""


class ArgumentError(CovectorError, TypeError):
    """A transformation, or what it returned, was given arguments that it does not take."""


class InterpretError(CovectorError, ValueError):
    """A program could not be evaluated."""


class SolveError(CovectorError, ArithmeticError):
    """A solve has failed while the program ran: it did not converge, or its system is singular."""


_RAISED: Final[deque[CovectorError]] = deque(maxlen=16)
"""What was raised inside of programs, where it becomes an error of XLA's that quotes it."""


def raise_while_running(error: CovectorError) -> NoReturn:
    """Raise an error in a Python function that a program calls."""
    _RAISED.append(error)
    raise error


def error_behind(error: Exception) -> CovectorError | None:
    """The error of ours that an error of XLA's quotes."""
    text = str(error)
    return next((e for e in reversed(_RAISED) if e.claim in text), None)


def describe_atom(atom: Atom) -> str:
    """One operand as text: its name hint, or its literal."""
    name = getattr(atom, "name", None)
    if name:
        return str(name)
    literal = getattr(atom, "value", None)
    return "_" if literal is None else f"{literal}:{atom.type}"


def describe_equation(eqn: Equation) -> str:
    """An equation as one line, with the name hints that it has."""
    outputs = ", ".join(f"{describe_atom(v)}: {v.type}" for v in eqn.outputs)
    params = " ".join(f"{k}={_short(v)}" for k, v in eqn.params.items() if v is not None)
    operands = "".join(" " + describe_atom(x) for x in eqn.inputs)
    return f"{outputs} = {eqn.primitive.name}{f'[{params}]' if params else ''}{operands}"


def describe_types(atoms: Iterable[Atom]) -> str:
    """The operands with their types, side by side."""
    return "   ".join(dict.fromkeys(f"{describe_atom(x)}: {x.type}" for x in atoms))


def _short(value: object) -> str:
    name = getattr(value, "name", None)
    text = f"@{name}" if isinstance(name, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint naming the closest known words, or None when nothing is close."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else None
