"""Which equation first makes a NaN, or an infinity, that reaches the results.

The graph is evaluated with all its values kept; then what is not finite is followed backwards from
the results, element by element where an operation works so, to the equations that make it of
operands without. What a `where` leaves out is nobody's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..ir.graph import Equation, Graph, Literal, Value
from ..ir.interpret import apply, as_typed
from ..ir.printer import atom_texts, equation_line
from .regions import region_runs

Values = Mapping[Any, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of numbers that are not finite. `mask` tells which elements are."""

    name: str
    test: Callable[[Any], Any]

    def mask(self, x: Any) -> Any:
        array = as_floats(x)
        return self.test(array) if array.dtype.kind in "fc" else np.zeros(array.shape, bool)

    def any(self, x: Any) -> bool:
        return bool(np.any(self.mask(x)))


NAN: Final = Kind("NaN", np.isnan)
INFINITY: Final = Kind("infinity", np.isinf)


def as_floats(x: Any) -> Any:
    """An array whose small floats are made float32, which NumPy knows."""
    array = np.asarray(x)
    return array.astype(np.float32) if array.dtype.kind == "V" and not array.dtype.names else array


@dataclass(frozen=True)
class Frame:
    """One graph on the way to an equation: its values, and the position of the equation.

    name: the graph, and which run of it: `@body (step 1 of 3)`.
    """

    name: str
    graph: Graph
    values: Values
    position: int

    @property
    def equation(self) -> Equation:
        return self.graph.equations[self.position]

    @property
    def operands(self) -> list[Any]:
        return [value_of(self.values, x) for x in self.equation.inputs]

    @property
    def outputs(self) -> list[Any]:
        return [self.values[v] for v in self.equation.outputs]


def value_of(values: Values, x: Any) -> Any:
    return x.value if isinstance(x, Literal) else values[x]


@dataclass(frozen=True)
class Source:
    """An equation that makes NaN, or infinity, of operands without.

    frames: the graphs that lead to it, outermost first.
    element: the index of the first element concerned, where the operation works on each by itself.
    others: how many equations more of its graph make such numbers of their own.
    cause: what made the infinity among its operands, if there is one.
    """

    what: str
    frames: tuple[Frame, ...]
    element: tuple[int, ...] | None
    others: int = 0
    cause: Source | None = None

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    @property
    def equation(self) -> Equation:
        return self.frame.equation

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(frame.name for frame in self.frames)

    @property
    def text(self) -> str:
        return equation_line(self.equation, atom_texts(self.frame.graph))

    def at_element(self, x: Any) -> Any:
        """The element of an operand that meets the element concerned; all of it without one."""
        return element_of(as_floats(x), self.element)

    def operands(self) -> Iterator[tuple[str, str]]:
        """Each operand's name and type, and what it is: its element, or the range of all."""
        names = atom_texts(self.frame.graph)
        for x, array in zip(self.equation.inputs, self.frame.operands, strict=True):
            if not isinstance(x, Literal):
                yield f"{names[x]}: {x.type}", self._described(array)

    def _described(self, array: Any) -> str:
        if self.element and np.size(array) > 1 and np.ndim(array) == len(self.element):
            index = ",".join(map(str, self.element))
            return f"= {self.at_element(array)} at [{index}], {extent(array)}"
        return extent(array)

    def as_json(self) -> dict[str, Any]:
        location = self.equation.location
        return {
            "what": self.what,
            "path": list(self.path),
            "equation": self.text,
            "location": str(location) if location else None,
            "element": list(self.element) if self.element is not None else None,
            "operands": [f"{name} {shown}" for name, shown in self.operands()],
            "others": self.others,
            "cause": self.cause.as_json() if self.cause else None,
        }

    def describe(self) -> str:
        """The source, and its cause, as text."""
        lines = [f"{self.what} is first made in {', '.join(self.path)}:", *self.lines()]
        if self.cause is not None:
            lines += ["", self.cause.describe()]
        return "\n".join(lines)

    def lines(self, located: bool = True) -> list[str]:
        """The equation, and its operands below."""
        location = self.equation.location
        place = f"    // {location}" if location and located else ""
        return [
            f"    {self.text}{place}",
            *(f"      {name} {shown}" for name, shown in self.operands()),
        ]


def extent(x: Any) -> str:
    """The range of an array's elements, and how many are zero or not finite."""
    array = as_floats(x)
    if array.dtype.kind == "V":
        return ""
    if array.size == 1:
        return f"= {array.reshape(())[()]}"
    if array.dtype.kind == "b":
        return f"{int(array.sum())} true of {array.size}"
    if array.size == 0 or array.dtype.kind not in "fiu":
        return f"of {array.size}"
    finite = array[np.isfinite(array)]
    least, most = (finite.min(), finite.max()) if finite.size else (0, 0)
    if finite.size == array.size and least == most:
        return f"all {least + 0:.4g}"
    parts = [f"from {least:.4g} to {most:.4g}"] if finite.size else []
    counts = {
        "zeros": array == 0, "NaN": np.isnan(array), "inf": np.isposinf(array),
        "-inf": np.isneginf(array),
    }  # fmt: skip
    parts += [f"{int(mask.sum())} {name}" for name, mask in counts.items() if mask.any()]
    return ", ".join(parts)


# -- evaluation ------------------------------------------------------------------------------------


def record(graph: Graph, arrays: Sequence[Any]) -> dict[Any, Any]:
    """Every value of a graph, evaluated on arrays by the NumPy meaning."""
    values: dict[Any, Any] = {}
    for v, x in zip(graph.inputs, arrays, strict=True):
        values[v] = as_typed(x, v.type)
    with np.errstate(all="ignore"):
        for eqn in graph.equations:
            operands = [value_of(values, x) for x in eqn.inputs]
            values.update(zip(eqn.outputs, apply(eqn, operands), strict=True))
    return values


# -- the search ------------------------------------------------------------------------------------


def nan_source(graph: Graph, arrays: Sequence[Any]) -> Source | None:
    """The first equation that makes a NaN which reaches the outputs; None if none does."""
    return find_source(graph, record(graph, arrays), graph.outputs, NAN)


def find_source(graph: Graph, values: Values, wanted: Iterable[Any], kind: Kind) -> Source | None:
    """The first equation that makes a number of that kind which reaches the wanted values."""
    return _find(f"@{graph.name}", graph, values, wanted, kind, ())


def _find(
    name: str, graph: Graph, values: Values, wanted: Iterable[Any], kind: Kind,
    outside: tuple[Frame, ...],
) -> Source | None:  # fmt: skip
    makers = _makers(graph, values, wanted, kind)
    if not makers:
        return None
    frame = Frame(name, graph, values, makers[0])
    frames = (*outside, frame)
    inner = _inside(frames, kind)
    if inner is not None:
        return inner
    element = _first_made(frame, kind)
    cause = _cause(frames, element) if kind is NAN else None
    return Source(kind.name, frames, element, len(makers) - 1, cause)


def _makers(graph: Graph, values: Values, wanted: Iterable[Any], kind: Kind) -> list[int]:
    """The positions of the equations that make what is bad in the wanted values, in order."""
    bad: set[Any] = {v for v in wanted if isinstance(v, Value) and kind.any(values[v])}
    found = []
    for i in reversed(range(len(graph.equations))):
        eqn = graph.equations[i]
        if bad.isdisjoint(eqn.outputs):
            continue
        operands = [value_of(values, x) for x in eqn.inputs]
        made = [values[v] for v in eqn.outputs if v in bad]
        guilty, is_maker = _blame(eqn, operands, made, kind)
        bad.update(x for x, is_bad in zip(eqn.inputs, guilty, strict=True) if is_bad)
        if is_maker:
            found.append(i)
    return found[::-1]


def _blame(
    eqn: Equation, operands: Sequence[Any], outputs: Sequence[Any], kind: Kind
) -> tuple[list[bool], bool]:
    """Which operands have what is bad in the outputs, and whether the equation made some itself."""
    if not works_on_elements(eqn):
        guilty = [kind.any(x) for x in operands]
        return guilty, not any(guilty)
    out = kind.mask(outputs[0])
    masks = [np.broadcast_to(kind.mask(x), out.shape) & out for x in operands]
    guilty = [bool(mask.any()) for mask in masks]
    return guilty, bool((out & ~np.logical_or.reduce(masks)).any())


def works_on_elements(eqn: Equation) -> bool:
    """Whether each element of the output depends on the same element of each operand."""
    primitive = eqn.primitive
    return (primitive.elementwise or primitive.name in ("select_n", "clamp")) and bool(eqn.inputs)


def _first_made(frame: Frame, kind: Kind) -> tuple[int, ...] | None:
    """The index of the first element that the equation makes bad of operands that are not."""
    if not works_on_elements(frame.equation):
        return None
    made = kind.mask(frame.outputs[0])
    for x in frame.operands:
        made = made & ~kind.mask(x)
    return tuple(int(i) for i in np.argwhere(made)[0])


def _inside(frames: tuple[Frame, ...], kind: Kind) -> Source | None:
    """The source within a graph that the last frame's equation holds, in the first bad run."""
    eqn = frames[-1].equation
    if not eqn.primitive.has_regions:
        return None
    for which, region, inputs in region_runs(eqn, frames[-1].operands):
        values = record(region, inputs)
        name = f"@{region.name}" + (f" ({which})" if which else "")
        found = _find(name, region, values, region.outputs, kind, frames)
        if found is not None:
            return found
    return None


def _cause(frames: tuple[Frame, ...], element: tuple[int, ...] | None) -> Source | None:
    """What made the infinities among the operands: here, in an earlier run, or outside."""
    for depth in reversed(range(len(frames))):
        frame, outside = frames[depth], frames[:depth]
        wanted = _infinite(frame, element)
        if not wanted:
            return None
        found = _find(frame.name, frame.graph, frame.values, wanted, INFINITY, outside)
        if found is None and outside:
            found = _inside(outside, INFINITY)
        if found is not None:
            return found
        element = None
    return None


def _infinite(frame: Frame, element: tuple[int, ...] | None) -> set[Any]:
    """The operands of a frame's equation that are infinite, at that element if there is one."""
    operands = zip(frame.equation.inputs, frame.operands, strict=True)
    return {x for x, a in operands if np.any(element_of(INFINITY.mask(a), element))}


def element_of(array: Any, element: tuple[int, ...] | None) -> Any:
    """The element of an operand, broadcast where it has one, of that index of the result."""
    if element is None or array.ndim != len(element):
        return array
    return array[tuple(i if n > 1 else 0 for i, n in zip(element, array.shape, strict=True))]
