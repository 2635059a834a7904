"""Masks: what is read late and computed from something larger is stored, not computed again.

    m = gt a 0; y = select_n m 0 a; ...; t = select_n m 0 ct
=>
    m = gt a 0; m' = optimization_barrier m; y = select_n m' 0 a; ...; t = select_n m' 0 ct

A comparison is so cheap that compilers repeat it in each of its readers, and keep what it compares
for that: four bytes an element where the truth value takes one, or the eight of the two words that
a random number is made of. Behind a barrier it is stored, and what it was made from may go. So are
random numbers that are read late, which take less than their words.

Law: the same outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from ..ir import fusion
from ..ir.graph import (
    Atom,
    Equation,
    Graph,
    Literal,
    Value,
    memoised,
    transformed,
    walk_graphs,
)
from ..ir.ops.call import call, custom_jvp_call, custom_vjp_call
from ..ir.ops.random import key_tag, random_bits
from ..ir.ops.shape import optimization_barrier
from ..ir.storage import stored_equations
from ..ir.types import BOOL
from .base import Pass
from .dce import is_same
from .regions import with_regions_changed

LARGE: Final = 1 << 14
"""Elements of a mask for which a compiled program is changed: below, another pass over memory costs
more than it saves."""

WORTH: Final = 16
"""Of which share of what a graph stores the savings must be at least."""

_FAR: Final = 64
_DEEP: Final = 16
"""Values looked at behind a mask, and calls in calls; beyond, it is left alone."""

Sources = dict[Atom, int]
"""Values that are stored, with their bytes."""

_CALLS: Final = frozenset({call, custom_jvp_call, custom_vjp_call})


def with_stored_masks(graph: Graph, least: int = LARGE) -> Graph:
    """The graph, and all that it holds, with barriers behind masks of at least so many elements."""
    key = ("masks stored", least)

    def change(graph: Graph) -> Graph:
        equations = with_regions_changed(graph, key)
        smaller = _smaller_values(graph, least)
        if smaller:
            equations = list(_Masks(graph, equations, smaller, least).stored())
        return graph if is_same(equations, graph.equations) else graph.with_equations(equations)

    return transformed(graph, key, change)


# -- values smaller than what they are made from ---------------------------------------------------


def _smaller_values(graph: Graph, least: int) -> dict[Atom, Sources]:
    """The large masks, and what random numbers alone are made into, with what is stored for them to
    be computed from, where that is more: of those that compilers compute where they are read, the
    ones that something else reads than what makes more of the kind."""
    noise = _noise_of(graph)
    found = {
        v
        for eqn in graph.equations
        for v in eqn.outputs
        if (v.type.dtype == BOOL or v in noise) and v.type.size >= least and _is_repeated(eqn)
    }
    found.difference_update(graph.outputs)
    if not found:
        return {}
    read: set[Atom] = set()
    for eqn in graph.equations:
        if not found.isdisjoint(eqn.inputs) and not found.issuperset(eqn.outputs):
            read.update(eqn.inputs)
    makers: dict[Atom, Equation] = {v: e for e in graph.equations for v in e.outputs}
    given = set(graph.inputs)
    smaller: dict[Atom, Sources] = {}
    for v in found & read:
        behind = _stored_behind(v, makers, least)
        sources = {a: size for a, size in behind.items() if a not in given}
        if sum(sources.values()) > v.type.nbytes:
            smaller[v] = sources
    return smaller


def _noise_of(graph: Graph) -> set[Atom]:
    """The values made of random words and constants alone, with the words."""

    def find() -> set[Atom]:
        noise: set[Atom] = set()
        for eqn in graph.equations:
            if eqn.primitive is random_bits:
                noise.update(eqn.outputs)
            elif eqn.primitive in _CALLS:
                callee: Graph = eqn.params["graph"]
                inner = _noise_of(callee)
                noise.update(
                    v for v, x in zip(eqn.outputs, callee.outputs, strict=True) if x in inner
                )
            elif noise and _is_of_noise(eqn, noise):
                noise.update(eqn.outputs)
        return noise

    found: set[Atom] = memoised(graph, "noise", find)
    return found


def _is_of_noise(eqn: Equation, noise: set[Atom]) -> bool:
    """Whether an equation computes on random numbers alone, but for scalars."""
    return (
        not noise.isdisjoint(eqn.inputs)
        and all(x in noise or x.type.size == 1 for x in eqn.inputs)
        and (fusion.is_fusible(eqn) or fusion.is_view(eqn))
    )


def _is_repeated(eqn: Equation) -> bool:
    """Whether compilers may compute what an equation makes in each of its readers."""
    return fusion.is_fusible(eqn) or eqn.primitive in _CALLS


# -- when they pay ---------------------------------------------------------------------------------


class _Masks:
    """The masks of one graph.

    last: where a value is read for the last time, by what is not computed in its own readers.
    otherwise: the same, but for what a mask is made of it. stored_before: of each equation, how
    many before it are stored; between two places without any, nothing is kept for long.
    """

    def __init__(
        self, graph: Graph, equations: list[Equation], smaller: dict[Atom, Sources], least: int
    ) -> None:
        self.graph, self.equations, self.smaller, self.least = graph, equations, smaller, least
        self.noise = _noise_of(graph)
        for callee in walk_graphs(graph):  # callees first: no recursion
            _stores(callee)
        self.stored_before = [0]
        for eqn in equations:
            self.stored_before.append(self.stored_before[-1] + _is_stored(eqn))
        self._read_from_the_end()

    def _read_from_the_end(self) -> None:
        end = len(self.equations)
        self.last: dict[Atom, int] = dict.fromkeys(self.graph.outputs, end)
        self.otherwise = dict(self.last)
        for i in reversed(range(end)):
            eqn = self.equations[i]
            place = other = i
            if fusion.is_fusible(eqn) or fusion.is_view(eqn):
                place = max([self.last.get(v, i) for v in eqn.outputs])
                other = max(
                    [-1 if v in self.smaller else self.otherwise.get(v, -1) for v in eqn.outputs]
                )
            for x in eqn.inputs:
                self.last[x] = max(self.last.get(x, -1), place)
                self.otherwise[x] = max(self.otherwise.get(x, -1), other)

    def stored(self) -> Iterator[Equation]:
        """The equations, with a barrier behind each mask that pays, and random numbers drawn when
        the program does: left free, they would all be drawn at once."""
        paying = self._paying()
        stored = None if paying.isdisjoint(self.noise) else self._stored_for_sure()
        behind: dict[Atom, Atom] = {}
        latest: Value | None = None
        for old, eqn in zip(self.graph.equations, self.equations, strict=True):
            if behind and not behind.keys().isdisjoint(eqn.inputs):
                eqn = eqn.replace(inputs=tuple([behind.get(x, x) for x in eqn.inputs]))
            if stored and latest is not None and self._draws(eqn):
                keys = [x for x in eqn.inputs if isinstance(x, Value) and key_tag(x.type.dtype)]
                wait = _barrier((*keys, latest), eqn)
                yield wait
                now: dict[Atom, Atom] = dict(zip(keys, wait.outputs, strict=False))
                eqn = eqn.replace(inputs=tuple([now.get(x, x) for x in eqn.inputs]))
            yield eqn
            for v in eqn.outputs:
                if v in paying:
                    barrier = _barrier((v,), eqn)
                    (behind[v],) = barrier.outputs
                    yield barrier
                if stored and old in stored and v.type.size >= self.least:
                    latest = v

    def _stored_for_sure(self) -> set[Equation]:
        """The equations that do not draw, and whose results are stored. What reads the operands of
        a call is not known here, so beside calls only what no reader could compute counts."""
        found = stored_equations(self.graph)
        if any(e.primitive in _CALLS for e in self.equations):
            readers = Counter(x for e in self.equations for x in e.inputs)
            found = {
                e
                for e in found
                if _is_stored(e)
                or (fusion.is_expensive(e) and any(readers[v] > 1 for v in e.outputs))
            }
        return {e for e in found if self.noise.isdisjoint(e.outputs)}

    def _draws(self, eqn: Equation) -> bool:
        """Whether an equation makes many random numbers out of a key."""
        return (
            (eqn.primitive is random_bits or eqn.primitive in _CALLS)
            and any(v in self.noise and v.type.size >= self.least for v in eqn.outputs)
            and any(key_tag(x.type.dtype) for x in eqn.inputs)
        )

    def _paying(self) -> set[Value]:
        """The values to be stored; none if that saves next to nothing of what the graph stores:
        each barrier is a border that compilers do not fuse across."""
        saved = {
            v: bytes_saved
            for i, eqn in enumerate(self.equations)
            for v in eqn.outputs
            if v in self.smaller and (bytes_saved := self._saved(v, i)) > 0
        }
        if not saved or WORTH * sum(saved.values()) < self._stored_bytes():
            return set()
        return set(saved)

    def _saved(self, v: Value, i: int) -> int:
        """How many bytes would be dead without it while a value waits to be read, less its own."""
        last = self.last.get(v, i)
        if not self._is_between(i, last):
            return 0
        freed = [
            size
            for a, size in self.smaller[v].items()
            if self._is_between(max(self.otherwise.get(a, -1), i), last)
        ]
        return sum(freed) - v.type.nbytes

    def _stored_bytes(self) -> int:
        """The bytes of all that the graph stores."""
        return sum(v.type.nbytes for e in self.equations if _is_stored(e) for v in e.outputs)

    def _is_between(self, i: int, j: int) -> bool:
        """Whether something is stored after one place and before another."""
        return i < j and self.stored_before[j] > self.stored_before[i + 1]


def _barrier(values: Sequence[Value], like: Equation) -> Equation:
    behind = tuple([Value(v.type, v.name) for v in values])
    return Equation(optimization_barrier, tuple(values), behind, {}, like.location)


def _is_stored(eqn: Equation) -> bool:
    if eqn.primitive in _CALLS:
        return _stores(eqn.params["graph"])
    return not (fusion.is_fusible(eqn) or fusion.is_view(eqn) or fusion.passes_on(eqn))


def _stores(graph: Graph) -> bool:
    """Whether a graph makes something that is not computed in its readers."""
    found: bool = memoised(graph, "stores", lambda: any(map(_is_stored, graph.equations)))
    return found


def _stored_behind(v: Atom, makers: dict[Atom, Equation], least: int, depth: int = 0) -> Sources:
    """The large values that one is computed from, with their bytes, as far as compilers store them;
    inputs of the graph and what callees store among them."""
    found: Sources = {}
    seen: set[Atom] = set()
    stack = [v]
    while stack:
        x = stack.pop()
        if x in seen or isinstance(x, Literal) or x.type.size < least:
            continue
        seen.add(x)
        if len(seen) > _FAR or depth > _DEEP:
            return {}
        maker = makers.get(x)
        if maker is None:
            found[x] = x.type.nbytes
        elif fusion.is_fusible(maker) or fusion.is_view(maker):
            stack.extend(maker.inputs)
        elif maker.primitive in _CALLS:
            _enter(maker, x, least, depth, found, stack)
        else:
            found[x] = fusion.stored_bytes(maker, x)
    return found


def _enter(
    eqn: Equation, x: Value, least: int, depth: int, found: Sources, stack: list[Atom]
) -> None:
    """What a result of a call is computed from, of its operands and in the callee."""
    callee: Graph = eqn.params["graph"]
    makers: dict[Atom, Equation] = memoised(
        callee, "makers", lambda: {v: e for e in callee.equations for v in e.outputs}
    )
    operands: dict[Atom, Atom] = dict(zip(callee.inputs, eqn.inputs, strict=True))
    inner = callee.outputs[[v is x for v in eqn.outputs].index(True)]
    for a, size in _stored_behind(inner, makers, least, depth + 1).items():
        if a in operands:
            stack.append(operands[a])
        else:
            found[x if a is inner else a] = size


@dataclass(frozen=True)
class Masks(Pass):
    """Store what is read late and computed from something larger: masks, and random numbers.

    Option least: the elements that it must have.
    """

    name: ClassVar[str] = "masks"
    law: ClassVar[str] = "equal outputs"

    least: int = 0

    def run_graph(self, graph: Graph) -> Graph:
        return with_stored_masks(graph, self.least)
