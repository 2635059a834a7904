"""Where a NaN comes from: the first equation that makes one of operands that have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.graph import Equation, Graph, Literal
from ..ir.interpret import apply, as_typed
from ..ir.printer import atom_texts, equation_line
from .regions import region_runs
from .symptoms import has_nan

Bad = Callable[[Any], bool]


@dataclass(frozen=True)
class Origin:
    """An equation that makes NaN, or infinity, of operands without.

    path: the graphs, outermost first, that lead to it, with the step of a loop.
    operands: each as text with the range of its elements.
    cause: where the infinity among its operands was made, if there is one.
    """

    path: tuple[str, ...]
    equation: Equation
    text: str
    operands: tuple[str, ...]
    what: str
    cause: Origin | None = None

    def as_json(self) -> dict[str, Any]:
        location = self.equation.location
        return {
            "what": self.what,
            "path": list(self.path),
            "equation": self.text,
            "location": str(location) if location else None,
            "operands": list(self.operands),
            "cause": self.cause.as_json() if self.cause else None,
        }

    def describe(self) -> str:
        """The origin, and its cause, as text."""
        location = self.equation.location
        place = f"    // {location}" if location else ""
        lines = [f"{self.what} is first made in {', '.join(self.path)}:", f"    {self.text}{place}"]
        lines += [f"      {operand}" for operand in self.operands]
        if self.cause is not None:
            lines += ["", self.cause.describe()]
        return "\n".join(lines)


def nan_origin(graph: Graph, arrays: Sequence[Any]) -> Origin | None:
    """The first equation, in evaluation order, that makes NaN; None if none does."""
    return _find(graph, arrays, has_nan, "NaN", (f"@{graph.name}",))


def _find(
    graph: Graph, arrays: Sequence[Any], bad: Bad, what: str, path: tuple[str, ...]
) -> Origin | None:
    env: dict[Any, Any] = {}
    for value, x in zip(graph.inputs, arrays, strict=True):
        env[value] = as_typed(x, value.type)
    with np.errstate(all="ignore"):
        for i, eqn in enumerate(graph.equations):
            operands = [x.value if isinstance(x, Literal) else env[x] for x in eqn.inputs]
            outputs = apply(eqn, operands)
            if any(map(bad, outputs)) and not any(map(bad, operands)):
                return _origin(graph, i, operands, arrays, bad, what, path)
            env.update(zip(eqn.outputs, outputs, strict=True))
    return None


def _origin(
    graph: Graph,
    position: int,
    operands: Sequence[Any],
    arrays: Sequence[Any],
    bad: Bad,
    what: str,
    path: tuple[str, ...],
) -> Origin:
    eqn = graph.equations[position]
    for which, region, inputs in region_runs(eqn, operands):
        name = f"@{region.name}" + (f" ({which})" if which else "")
        inner = _find(region, inputs, bad, what, (*path, name))
        if inner is not None:
            return inner
    names = atom_texts(graph)
    cause = None
    if what == "NaN" and any(map(has_infinity, operands)):
        infinite = {x for x, a in zip(eqn.inputs, operands, strict=True) if has_infinity(a)}
        cause = _infinity_origin(graph, position, arrays, infinite, path)
    described = tuple(
        f"{names[x]}: {x.type} {extent(a)}" for x, a in zip(eqn.inputs, operands, strict=True)
    )
    return Origin(path, eqn, equation_line(eqn, names), described, what, cause)


def _infinity_origin(
    graph: Graph, position: int, arrays: Sequence[Any], wanted: set[Any], path: tuple[str, ...]
) -> Origin | None:
    """What made the infinities in these values, which equations before `position` compute."""
    needed = set(wanted)
    kept = []
    for eqn in reversed(graph.equations[:position]):
        if not needed.isdisjoint(eqn.outputs):
            needed.update(eqn.inputs)
            kept.append(eqn)
    slice_ = Graph(graph.inputs, reversed(kept), (), graph.name)
    return _find(slice_, arrays, has_infinity, "infinity", path)


def has_infinity(x: Any) -> bool:
    array = np.asarray(x)
    if array.dtype.kind == "V" and array.dtype.names is None:
        array = array.astype(np.float32)
    return array.dtype.kind in "fc" and bool(np.isinf(array).any())


def extent(x: Any) -> str:
    """The range of an array's elements, and how many are zero or not finite."""
    array = np.asarray(x)
    if array.dtype.kind == "V":
        if array.dtype.names is not None:
            return ""
        array = array.astype(np.float32)
    if array.size == 0 or array.dtype.kind not in "fiu":
        return f"of {array.size}"
    if array.size == 1:
        return f"= {array.reshape(())[()]}"
    finite = array[np.isfinite(array)]
    parts = [f"from {finite.min():.4g} to {finite.max():.4g}"] if finite.size else []
    zeros, rest = int((array == 0).sum()), array.size - finite.size
    parts += [f"{zeros} zeros"] if zeros else []
    parts += [f"{rest} not finite"] if rest else []
    return ", ".join(parts)
