"""What reverse mode keeps from the primal for the backward pass, and why.

for r in residuals_of(covector.run_passes(module, "linearize")):
    print(r.nbytes, r.value, r.location, r.why())
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..ir.graph import Atom, Equation, Graph, Location, Value, memoised
from ..ir.module import Module
from ..ir.ops.placement import DEVICE, device_put
from ..ir.origins import BACKWARD, FORWARD, primal_of, role_of

INPUT: Final = "input"
PRIMAL: Final = "primal"
FACTOR: Final = "factor"

_ENTERED: Final = ("scan", "call", "checkpoint")
"""Where what makes a value is looked for inside."""


@dataclass(frozen=True)
class Residual:
    """A value of the primal half that the linear half reads.

    Attributes:
      value: as the linear half takes it (a loop's are stacked).
      maker: the equation that makes it, within a loop the one inside; None for an input.
      readers: the equations of the program whose derivatives read it.
    """

    value: Value
    maker: Equation | None
    readers: tuple[Equation, ...]

    @property
    def nbytes(self) -> int:
        return self.value.type.nbytes

    @property
    def location(self) -> Location | None:
        return self.maker.location if self.maker is not None else None

    @property
    def kind(self) -> str:
        """`input`, kept alive rather than made; `primal`, a value of the program; or `factor`, made
        for the derivative alone."""
        if self.maker is None:
            return INPUT
        return PRIMAL if role_of(self.maker) == FORWARD else FACTOR

    @property
    def memory(self) -> str:
        """The memory that keeps it: `device`, or where a checkpoint policy moves it."""
        is_moved = self.maker is not None and self.maker.primitive is device_put
        return str(self.maker.params["target"]) if self.maker and is_moved else DEVICE

    def why(self) -> str:
        """What it is kept for, in a few words; and where, if not on the device."""
        place = "" if self.memory == DEVICE else f", kept in {self.memory}"
        return f"{self._reason()}{place}"

    def _reason(self) -> str:
        readers = list(dict.fromkeys(map(_named, self.readers)))
        if self.maker is not None and self.kind == FACTOR:
            of = _named(_placed(primal_of(self.maker), self.maker))
            others = [reader for reader in readers if reader != of]
            return f"the slope of {of}" + (f", read by {_listed(others)} too" if others else "")
        return f"read by the derivative of {_listed(readers)}" if readers else "not known"


def _named(eqn: Equation) -> str:
    return f"{eqn.primitive.name} ({eqn.location})" if eqn.location else eqn.primitive.name


def _listed(names: Sequence[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def residuals_of(module: Module) -> list[Residual]:
    """The residuals of a module after `linearize`, `vjp` or `grad`, in reading order.

    Of a program with linear halves those that they take; of one that holds its backward pass what
    that reads of the rest. Reasons are known for programs that passes of this process made.
    """
    main = module.main
    halves = [g for g in module.graphs.values() if g.linear_from is not None]
    if not halves:
        return _of_backward(main)
    found = []
    for graph in halves:
        n = graph.linear_from or 0
        returned = main.outputs[len(main.outputs) - n :]  # an entry returns its residuals last
        known = len(main.outputs) >= n and [x.type for x in returned] == [
            v.type for v in graph.inputs[:n]
        ]
        for v, x in zip(graph.inputs[:n], returned if known else graph.inputs, strict=False):
            maker = _maker(main, x) if known else None
            found.append(Residual(v, maker, _readers(_readers_in(graph), v)))
    return found


def _of_backward(main: Graph) -> list[Residual]:
    backward = [eqn for eqn in main.equations if role_of(eqn) == BACKWARD]
    own = {v for eqn in backward for v in eqn.outputs}
    cts = _cotangent_inputs(main, backward)
    read = dict.fromkeys(
        x for e in backward for x in e.inputs
        if isinstance(x, Value) and x not in own and x not in cts
    )  # fmt: skip
    readers = _reader_table(backward)
    return [Residual(v, _maker(main, v), _readers(readers, v)) for v in read]


def _cotangent_inputs(main: Graph, backward: Iterable[Equation]) -> set[Atom]:
    """The inputs that no equation of the primal reads, if the backward pass reads them."""
    waiting = set(backward)
    primal = {x for eqn in main.equations if eqn not in waiting for x in eqn.inputs}
    return {v for v in main.inputs if v not in primal and (v.name or "ct_").startswith("ct_")}


# -- who makes and who reads -----------------------------------------------------------------------

Readers = dict[Any, list[Equation]]


def _maker(graph: Graph, x: Atom) -> Equation | None:
    """The equation that makes a value; of a stacked one, that inside the loop."""
    made: dict[Any, Equation] = memoised(
        graph, "makers", lambda: {v: eqn for eqn in graph.equations for v in eqn.outputs}
    )
    eqn = made.get(x)
    region = eqn.params.get("graph") if eqn is not None else None
    if eqn is None or not isinstance(region, Graph) or eqn.primitive.name not in _ENTERED:
        return eqn
    inner = region.outputs[eqn.outputs.index(x)]
    return _placed(_maker(region, inner) or primal_of(eqn), eqn)


def _readers_in(graph: Graph) -> Readers:
    found: Readers = memoised(graph, "readers", lambda: _reader_table(graph.equations))
    return found


def _reader_table(equations: Iterable[Equation]) -> Readers:
    found: Readers = {}
    for eqn in equations:
        for x in dict.fromkeys(eqn.inputs):
            found.setdefault(x, []).append(eqn)
    return found


def _readers(table: Readers, x: Atom) -> tuple[Equation, ...]:
    """The primal equations whose derivatives read a value, those inside loops in place of them."""
    found: dict[Equation, None] = {}
    for eqn in table.get(x, ()):
        if eqn.primitive is device_put:  # whoever reads it once it is back
            found.update(dict.fromkeys(_readers(table, eqn.outputs[0])))
            continue
        for reader in _inner_readers(eqn, x) or (primal_of(eqn),):
            found.setdefault(reader)
    return tuple(found)


def _inner_readers(eqn: Equation, x: Atom) -> tuple[Equation, ...]:
    found: list[Equation] = []
    for region in eqn.regions() if eqn.primitive.has_regions else ():
        skipped = len(eqn.inputs) - len(region.inputs)
        if skipped < 0 or eqn.primitive.name == "while":
            continue
        for outer, inner in zip(eqn.inputs[skipped:], region.inputs, strict=True):
            if outer is x:
                found += [_placed(r, eqn) for r in _readers(_readers_in(region), inner)]
    return tuple(found)


def _placed(inner: Equation, outer: Equation) -> Equation:
    """An equation of a library function's body, at the line that called it."""
    return inner if inner.location is not None else inner.replace(location=outer.location)
