"""Why a program was compiled: what differs from the nearest of those that were compiled before."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from ..ir.equality import graph_hash, structural_lines
from ..ir.errors import describe_equation
from ..ir.graph import Constant, Equation, Graph

Listener = Callable[[str], Any]


@dataclass(frozen=True)
class Record:
    """A program that was compiled, by the name of its function, and `facts`: by what they are
    called, the other things that a compiled program is for."""

    name: str
    graph: Graph
    facts: Mapping[str, Any]


KEPT: Final = 64
"""Programs that are remembered to be compared with."""

_records: Final[deque[Record]] = deque(maxlen=KEPT)


def listener(explain: bool | Listener) -> Listener | None:
    """Whoever is told: nobody, a function, or for True the reader of standard error."""
    if explain is True:
        return lambda text: print(text, file=sys.stderr)
    return explain or None


def found_again(name: str) -> str:
    return f"{name}: an equal program was compiled before, nothing is compiled"


def reason(record: Record) -> str:
    """Why this program has to be compiled; it is remembered, to be compared with later ones."""
    earlier = list(_records)
    _records.append(record)
    if not earlier:
        return f"compiling {record.name}: no program was compiled before that could be compared"
    nearest, differences = min(
        ((other, list(_differences(record, other))) for other in reversed(earlier)),
        key=lambda pair: _distance(record, *pair),
    )
    same = f" {nearest.name}" if nearest.name != record.name else " one of this name"
    head = f"compiling {record.name}: what differs from the nearest program compiled before,{same}:"
    return "\n".join([head, *[f"  {line}" for line in differences]])


def _distance(record: Record, other: Record, differences: list[str]) -> tuple[int, int, bool]:
    a, b = len(record.graph), len(other.graph)
    same = _first_difference(record.graph, other.graph)
    missing = 0 if same is None else max(a, b) - same
    return len(differences), missing, record.name != other.name


# -- differences -----------------------------------------------------------------------------------


def _differences(new: Record, old: Record) -> Iterator[str]:
    for what, value in new.facts.items():
        if old.facts.get(what) != value:
            yield f"{what}: {value}, was {old.facts.get(what)}"
    types = list(_type_differences(new.graph, old.graph))
    yield from types
    if not types:
        yield from _program_differences(new.graph, old.graph, "")


def _type_differences(new: Graph, old: Graph) -> Iterator[str]:
    if len(new.inputs) != len(old.inputs):
        yield f"{len(new.inputs)} input arrays, were {len(old.inputs)}"
        return
    for i, (a, b) in enumerate(zip(new.inputs, old.inputs, strict=True)):
        if a.type is not b.type:
            yield f"input {a.name or i}: {a.type}, was {b.type}"


def _program_differences(new: Graph, old: Graph, where: str) -> Iterator[str]:
    """The first equation that differs, or the first inside of it if it holds graphs."""
    at = _first_difference(new, old)
    if at is None:
        return
    a, b = _equation(new, at), _equation(old, at)
    if a is None and b is None:
        yield f"{where}what is returned"
    elif a is None or b is None:
        word, eqn = ("gone", b) if a is None else ("new", a)
        assert eqn is not None
        yield f"{where}{word}: {_described(eqn)}"
    elif inner := _inner_difference(a, b):
        yield from _program_differences(*inner, f"{where}in {_placed(a)}: ")
    elif constant := _other_constant(a, b):
        yield f"{where}the captured array {constant.name}: {constant.type} holds other values"
    else:
        yield f"{where}{_described(a)}, was {_described(b)}"


def _first_difference(new: Graph, old: Graph) -> int | None:
    """Which equation is the first that differs; None for equal programs."""
    if graph_hash(new) == graph_hash(old):
        return None
    pairs = zip_longest(structural_lines(new), structural_lines(old))
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), 1)
    return max(at - 1, 0)  # the first line is that of the inputs


def _equation(graph: Graph, i: int) -> Equation | None:
    return graph.equations[i] if i < len(graph.equations) else None


def _inner_difference(a: Equation, b: Equation) -> tuple[Graph, Graph] | None:
    """The first graphs held by two equations of a kind that differ."""
    if a.primitive is not b.primitive:
        return None
    pairs = zip(a.regions(), b.regions(), strict=False)
    return next(((x, y) for x, y in pairs if graph_hash(x) != graph_hash(y)), None)


def _other_constant(a: Equation, b: Equation) -> Constant | None:
    """The captured array of one equation, if another is the same with other contents."""
    for x, y in zip(a.params.values(), b.params.values(), strict=False):
        if isinstance(x, Constant) and isinstance(y, Constant) and x.type is y.type:
            return x
    return None


def _described(eqn: Equation) -> str:
    text = describe_equation(eqn)
    return f"{text} ({eqn.location})" if eqn.location is not None else text


def _placed(eqn: Equation) -> str:
    at = f" at {eqn.location}" if eqn.location is not None else ""
    return f"{eqn.primitive.name}{at}"
