"""Where fused operations end, on CPUs.

XLA's CPU backend computes a cheap value anew in every fused operation that reads it, with all that
it is made of. Along a chain of sums that is read at every link, as the cotangents of a residual
stream are, each fused operation then computes the whole chain so far again: code, and work, that
grow with the square of the depth, or faster where elements are shifted. A barrier behind such
values has them computed once. The thresholds were chosen by measuring (benchmarks/depth.py): what
is cut compiles in a fraction of the time and runs no slower; what is not, would compile more slowly
with barriers, of which each is one more loop.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from ..ir.graph import Equation, Graph, Literal, Value, walk_graphs
from ..ir.ops.contraction import dot_general
from ..ir.ops.control import cond, scan, while_
from ..ir.ops.shape import optimization_barrier
from . import tables
from .flat_program import Step, flat_lengths, flat_program, part_graphs

FEW: Final = 4
"""How many operations may be computed again for a value: its depth, in operations that are, for
each fused operation that reads it but one."""

MANY: Final = 8
"""How many in the end make a chain one to cut, at all its values for which more than a few are."""

LONGEST: Final = 200_000
"""Of how many equations a program is looked at, those of a function counted at each of its calls:
it is one that XLA would not come to an end with anyway."""

SMALL: Final = 1 << 10
"""Bytes that the steps of loops with borders touch at least: those that touch no more become one
kernel each, whose emitter, of jaxlib before 0.11.1, fails at a barrier. What is made a kernel on
purpose has none at all."""

_MOVES: Final = frozenset({
    "broadcast_in_dim", "clamp", "concatenate", "dynamic_slice", "expand_dims", "pad", "reshape",
    "rev", "select_n", "slice", "squeeze", "transpose",
})  # fmt: skip
"""What is fused besides what works element by element."""

_SHIFTS: Final = frozenset({"concatenate", "dynamic_slice", "pad", "rev", "slice", "transpose"})
"""Of these, what reads other elements of an operand than a reader beside it does: both in one fused
operation compute it twice."""

_COSTLY: Final = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cosh", "div", "erf", "exp",
    "exp2", "expm1", "log", "log1p", "logistic", "pow", "rem", "rsqrt", "sinh", "sqrt", "tanh",
})  # fmt: skip
"""What XLA itself computes once if several operations read it."""

_FACTORS: Final = frozenset({"exp", "pow", "rsqrt", "sqrt"})
"""What XLA divides by in multiplying, which is not costly: by rsqrt(x) for sqrt(x)."""

_LEAST: Final = 16
"""Of how many elements arrays are counted as at least."""

_REDUCES: Final = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"})
"""What ends a fused operation that computes its operand."""


def borders_of(main: Graph) -> Mapping[Graph, Set[Value]]:
    """The values, of a program and of the functions that it calls, that are to be computed once:
    those by which many operations would be computed again. Linear in the flat programs of it and of
    the bodies of its loops and branches. None where barriers stand in it already: what was planned
    to fit a memory is to stay as it was planned."""
    if any(e.primitive is optimization_barrier for g in walk_graphs(main) for e in g.equations):
        return {}
    compiled, touched, kernels = _parts(main)
    lengths = flat_lengths(*compiled)
    borders: dict[Graph, set[Value]] = {}
    for root in compiled:
        if lengths[root] <= LONGEST:
            for graph, value in _borders(root):
                if graph not in kernels:
                    borders.setdefault(graph, set()).add(value)
    _spare_small_loops(borders, [part_graphs(g) for g in compiled if g in touched], touched)
    return borders


def _parts(main: Graph) -> tuple[Iterable[Graph], Mapping[Graph, int], Set[Graph]]:
    """The graphs that XLA compiles each by itself; all that run in loops, with the bytes of the
    matrices that they multiply by; those in kernels."""
    compiled, kernels = {main: None}, set[Graph]()
    touched: dict[Graph, int] = {}
    reached = [(main, False)]
    seen = {*reached}
    while reached:
        graph, is_repeated = reached.pop()
        if is_repeated:
            products = [e for e in graph.equations if e.primitive is dot_general]
            touched[graph] = sum([max([x.type.nbytes for x in e.inputs]) for e in products])
        for eqn in graph.equations:
            if not eqn.primitive.has_regions:
                continue
            if eqn.params.get("kernel"):
                kernels |= {*walk_graphs(eqn.params["graph"])}
                continue
            callees = [*tables.callees.find(eqn)(eqn)]
            is_loop = eqn.primitive is scan or eqn.primitive is while_
            if is_loop or eqn.primitive is cond or eqn.params.get("outlined"):
                compiled.update(dict.fromkeys(callees))
            new = {(g, is_repeated or is_loop) for g in callees} - seen
            seen |= new
            reached += new
    return compiled, touched, kernels


def _spare_small_loops(
    borders: dict[Graph, set[Value]], loops: Sequence[Set[Graph]], touched: Mapping[Graph, int]
) -> None:
    """Take away the borders of loops of which XLA might make a kernel, each given by the graphs of
    it: those that touch little. (Of each value behind a border XLA counts that it is written, goes
    into the barrier, and comes out.) What is left of others then touches less."""
    is_done = False
    while not is_done:
        is_done = True
        for graphs in loops:
            cut = [g for g in graphs if g in borders]
            held = sum([v.type.nbytes for g in cut for v in borders[g]])
            if cut and 3 * held + sum([touched.get(g, 0) for g in graphs]) <= SMALL:
                is_done = False
                for g in cut:
                    del borders[g]


def computed_again(main: Graph) -> int:
    """How many elements XLA would compute again in a program without borders, in a step of each of
    its loops: those of a value, for each operation that it takes, for each fused operation that
    reads it but one. Arrays of few elements count as if they had sixteen, for as much is compiled
    for them; scalars not at all, which are computed once in any loop."""
    compiled, _, _ = _parts(main)
    lengths = flat_lengths(*compiled)
    if any([lengths[root] > LONGEST for root in compiled]):
        return sys.maxsize
    return sum([_computed_again(root) for root in compiled])


def _computed_again(root: Graph) -> int:
    again = _Again.of(root)
    depth: dict[Any, int] = {}
    total = 0
    for step in again.steps:
        (y,) = step.outputs
        depth[y] = deep = _depth(step, depth)
        if y.type.shape:
            total += deep * again.copies.get(y, 0) * max(y.type.size, _LEAST)
    return total


@dataclass(frozen=True)
class _Again:
    """The steps of one part that XLA may compute again, in order; how often it would their results
    (`_copies`); and of which graph these are."""

    steps: Sequence[Step]
    copies: Mapping[Any, int]
    homes: Mapping[Value, tuple[Graph, Value]]

    @staticmethod
    def of(root: Graph) -> _Again:
        steps, outputs, homes = flat_program(root)
        copies = _copies(steps, outputs)
        if not any(copies.values()):
            return _Again((), {}, {})
        again = [s for s in steps if _is_fused(s.equation) and copies.get(s.outputs[0]) != 0]
        return _Again(again, copies, homes)


def _borders(root: Graph) -> Iterator[tuple[Graph, Value]]:
    """The values of one part to be computed once, and of which graph they are."""
    again = _Again.of(root)
    peaks = _peaks(again.steps, again.copies)
    depth: dict[Any, int] = {}
    for step in again.steps:
        (y,) = step.outputs
        deep = _depth(step, depth)
        if deep * again.copies.get(y, 0) > FEW and peaks[y] > MANY:
            yield again.homes.get(y) or (root, y)
        else:
            depth[y] = deep


def _peaks(again: Sequence[Step], copies: Mapping[Any, int]) -> dict[Any, int]:
    """By value, how many operations would be computed again for one that it is computed in, with no
    border anywhere."""
    depth: dict[Any, int] = {}
    for step in again:
        depth[step.outputs[0]] = _depth(step, depth)
    peaks: dict[Any, int] = {}
    for step in reversed(again):
        (y,) = step.outputs
        peaks[y] = peak = max(peaks.get(y, 0), depth[y] * copies.get(y, 0))
        for x in step.inputs:
            peaks[x] = max(peaks.get(x, 0), peak)
    return peaks


def _depth(step: Step, depth: Mapping[Any, int]) -> int:
    """How many operations follow each other in a result, by the depth of what it is made of."""
    return 1 + max([depth.get(x, 0) for x in step.inputs], default=0)


def _copies(steps: Sequence[Step], outputs: Sequence[Any]) -> dict[Any, int]:
    """How often XLA would compute a value again, of those that end up in several fused operations;
    0 for what it computes once.

    `ends` tells in which fused operations a value ends up, each by what stands for it: the value
    that it leaves in memory, or the results of a reduction that it computes. What ends up in
    several is seen by what it is made of as one end. So is what is costly and read by several
    operations, although they may be fused: XLA decides on these one by one, and does not compute it
    again.
    """
    repeated = _repeated(steps)
    factors = {s.outputs[0] for s in steps if s.equation.primitive.name in _FACTORS} | repeated
    stored: set[Any] = set(outputs)
    ends: dict[Any, set[Any]] = {}
    readers: dict[Any, int] = {}
    for x in outputs:
        ends.setdefault(x, set()).add(x)
    copies: dict[Any, int] = {}
    for step in reversed(steps):
        eqn, inputs, _ = step
        end: Any = None
        if _is_fused(eqn):
            (y,) = step.outputs
            found, costly = ends.pop(y, ()), _is_costly(step, factors)
            once = costly or (y in stored and _joins(step, repeated))
            if len(found) == 1 and not (once and readers.get(y, 0) > 1):
                end = y if eqn.primitive.name in _SHIFTS else next(iter(found))
            else:
                end = y
                copies[y] = 0 if once else len(found) - 1
            if y in stored and eqn.primitive.name in ("reshape", "transpose"):
                stored.update(inputs)  # in whose order of axes the reader reads them
        elif eqn.primitive.name in _REDUCES:
            end = step.outputs
        elif eqn.primitive.family not in ("indexing", "window"):  # some of which XLA fuses
            stored.update(inputs)
        for x in {*inputs}:  # what is not fused reads its operands from memory
            ends.setdefault(x, set()).add(x if end is None else end)
            readers[x] = readers.get(x, 0) + 1
    return copies


def _is_fused(eqn: Equation) -> bool:
    """Whether XLA makes an operation part of those that read its result."""
    primitive = eqn.primitive
    return (primitive.elementwise or primitive.name in _MOVES) and len(eqn.outputs) == 1


def _repeated(steps: Sequence[Step]) -> set[Any]:
    """Values that hold the elements of smaller ones several times."""
    return {
        outputs[0]
        for eqn, inputs, outputs in steps
        if eqn.primitive.name == "broadcast_in_dim" and inputs[0].type.size < outputs[0].type.size
    }


def _is_costly(step: Step, factors: Set[Any]) -> bool:
    """Whether XLA computes a result once, though several operations read it. Of divisions by a few
    numbers that are repeated it makes multiplications, by 1 / x."""
    name = step.equation.primitive.name
    if name != "div":
        return name in _COSTLY
    y = step.inputs[1]
    is_repeated = y.type.size < step.outputs[0].type.size
    return not (is_repeated or y.__class__ is Literal or y in factors)


def _joins(step: Step, repeated: Set[Any]) -> bool:
    """Whether a result is made of several arrays of its size. XLA does not compute such anew where
    an operation that is not fused has it in memory: that would be more to read."""
    size = step.outputs[0].type.size
    joined = {
        x for x in step.inputs
        if x.type.size == size and x.__class__ is not Literal and x not in repeated
    }  # fmt: skip
    return len(joined) > 1
