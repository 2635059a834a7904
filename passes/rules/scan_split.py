"""Partial evaluation of scan: a loop of what is known, and one of what is not.

    known      known consts, invariants | known carry | known xs -> known carry | known ys, stacks
    unknown    invariants, unknown consts | unknown carry | stacks, unknown xs
               -> unknown carry | unknown ys

What the second loop needs of the first is stacked, one slice an iteration, unless it can be had for
less: values that only depend on known consts are computed once, before both loops; slices of xs and
of known ys are read from those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.builder import Builder
from ...ir.graph import Atom, Equation, Graph, Literal, Value, captures, memoised
from ...ir.ops.control import scan, scan_sizes, split_sizes
from .. import tables
from ..partial_eval import Split, split_graph
from ..regions import Flags, arranged, equation, grow_until_stable, reject, select
from .revolve import split_revolving

Halves = tuple[list[Equation], list[Equation], Sequence[bool]]


def unknown_carries(eqn: Equation, unknown: Sequence[bool]) -> Flags:
    """The carries that are unknown in some iteration."""
    graph: Graph = eqn.params["graph"]
    sizes = scan_sizes(eqn)
    consts, carry, xs = split_sizes(unknown, sizes)

    def step(active: Flags) -> Flags:
        return split_graph(graph, (*consts, *active, *xs)).unknown_out[: sizes[1]]

    return grow_until_stable(carry, step)


@tables.split.rule(scan)
def split_scan(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    graph: Graph = eqn.params["graph"]
    n_consts, n_carry = scan_sizes(eqn)
    carry = unknown_carries(eqn, unknown)
    flags = (*unknown[:n_consts], *carry, *unknown[n_consts + n_carry :])
    force = (*carry, *(False for _ in graph.outputs[n_carry:]))
    split = split_graph(graph, flags, force)
    if not split.known.equations and all(split.unknown_out):
        return [], [eqn], split.unknown_out
    if eqn.params["snapshots"] is not None and eqn.params["length"] > 1 and split.residuals:
        return split_revolving(eqn, flags, split)
    return _Loops(eqn, flags, split).build()


class _Loops:
    """The two loops of one scan, under construction.

    known, waiting: the known and the unknown inputs of the body, in three groups (consts, carry,
    xs). operands: what stands outside for each input. stacks: what the second loop slices for each
    residual.
    """

    def __init__(self, eqn: Equation, unknown: Flags, split: Split) -> None:
        graph: Graph = eqn.params["graph"]
        groups = split_sizes(list(zip(graph.inputs, unknown, strict=True)), scan_sizes(eqn))
        self.eqn, self.split = eqn, split
        self.known = [[v for v, u in group if not u] for group in groups]
        self.waiting = [[v for v, u in group if u] for group in groups]
        self.operands = dict(zip(graph.inputs, eqn.inputs, strict=True))
        self.known_outputs = reject(eqn.outputs, split.unknown_out)
        self.stacks: dict[Value, Atom] = {v: self.operands[v] for v in self.known[2]}

    def build(self) -> Halves:
        hoisted = hoist_invariants(self.split, *self.known)
        first, invariants = self._before(hoisted)
        first += self._known_loop(hoisted, invariants)
        return first, self._unknown_loop(invariants), self.split.unknown_out

    def _before(self, hoisted: Hoisted) -> tuple[list[Equation], dict[Value, Atom]]:
        """The equations that both loops share, and what is the same in every iteration."""
        b = Builder()
        b.replace(self.eqn)
        before = hoisted.before
        made = b.inline(before, [self.operands[v] for v in before.inputs])
        invariants = {v: self.operands[v] for v in hoisted.fixed}
        invariants.update((v, x) for v, x in zip(before.outputs, made, strict=True))  # type: ignore[misc]
        return b.equations, invariants

    def _known_loop(self, hoisted: Hoisted, invariants: dict[Value, Atom]) -> list[Equation]:
        """The known loop; decides which residuals it stacks."""
        consts, carry, xs = self.known
        body, length = hoisted.body, self.eqn.params["length"]
        known = zip(self.split.known.outputs, self.known_outputs, strict=False)
        for inner, outer in list(known)[len(carry) :]:
            if isinstance(inner, Value):
                self.stacks.setdefault(inner, outer)
        sources = self.stacks.keys() | invariants.keys()
        stacked = [r for r in self.split.residuals if r not in sources]
        new = [Value(r.type.with_shape((length, *r.type.shape)), r.name) for r in stacked]
        self.stacks.update(zip(stacked, new, strict=True))
        outputs = (*self.known_outputs, *new)
        if not outputs and not body.effects:
            return []
        fixed = (*consts, *hoisted.read)
        n_known = len(self.known_outputs)
        graph = arranged(
            body, (*fixed, *carry, *xs), (*self.split.known.outputs[:n_known], *stacked)
        )
        operands = (*(invariants[v] for v in fixed), *(self.operands[v] for v in (*carry, *xs)))
        return [self._loop(graph, operands, outputs, len(fixed), len(carry))]

    def _unknown_loop(self, invariants: dict[Value, Atom]) -> list[Equation]:
        consts, carry, xs = self.waiting
        fixed = [r for r in self.split.residuals if r in invariants]
        sliced = [r for r in self.split.residuals if r not in invariants]
        rest = self.split.unknown
        graph = arranged(rest, (*fixed, *consts, *carry, *sliced, *xs), rest.outputs)
        operands = (
            *(invariants[r] for r in fixed),
            *(self.operands[v] for v in (*consts, *carry)),
            *(self.stacks[r] for r in sliced),
            *(self.operands[v] for v in xs),
        )
        outputs = select(self.eqn.outputs, self.split.unknown_out)
        if not outputs:
            return []
        return [self._loop(graph, operands, outputs, len(fixed) + len(consts), len(carry))]

    def _loop(
        self,
        graph: Graph,
        operands: Sequence[Atom],
        outputs: Sequence[Value],
        n_consts: int,
        n_carry: int,
    ) -> Equation:
        params = {**self.eqn.params, "graph": graph, "num_consts": n_consts, "num_carry": n_carry}
        return equation(scan, operands, outputs, params, self.eqn)


# -- what is the same in every iteration ----------------------------------------------------------


@dataclass(frozen=True)
class Hoisted:
    """A known loop body in two parts:

    before   fixed inputs                  -> values that residuals are or are made of
    body     the body's inputs, `read`     -> the body's outputs

    `fixed` are the inputs that are the same in every iteration: consts, and carries that the body
    returns unchanged. `read` are those outputs of `before` that the rest of the body reads.
    """

    fixed: tuple[Value, ...]
    before: Graph
    body: Graph
    read: tuple[Value, ...]


def hoist_invariants(
    split: Split, consts: Sequence[Value], carry: Sequence[Value], xs: Sequence[Value]
) -> Hoisted:
    """Take out of the known body what residuals need and every iteration would compute alike."""
    key = ("hoist", len(consts), len(carry))
    made: Hoisted = memoised(split.known, key, lambda: _hoist(split, consts, carry, xs))
    return made


def _hoist(
    split: Split, consts: Sequence[Value], carry: Sequence[Value], xs: Sequence[Value]
) -> Hoisted:
    known = split.known
    unchanged = [v for v, out in zip(carry, known.outputs, strict=False) if v is out]
    fixed = (*consts, *unchanged)
    invariant = _invariant_equations(known.equations, set(fixed))
    needed = set(split.residuals)
    slice_ = []
    for eqn in reversed(invariant):
        if not needed.isdisjoint(eqn.outputs):
            needed.update(eqn.inputs)  # type: ignore[arg-type]
            slice_.append(eqn)
    slice_.reverse()
    moved = set(slice_)
    kept = [eqn for eqn in known.equations if eqn not in moved]
    made = {v for eqn in slice_ for v in eqn.outputs}
    n_known = len(known.outputs) - len(split.residuals)
    read = captures((*consts, *carry, *xs), kept, known.outputs[:n_known])
    outputs = dict.fromkeys((*read, *(r for r in split.residuals if r in made)))
    before_inputs = captures((), slice_, ())
    before = Graph(before_inputs, slice_, outputs, f"{known.name}.before")
    body = Graph((*consts, *read, *carry, *xs), kept, known.outputs[:n_known], known.name)
    return Hoisted(fixed, before, body, read)


def _invariant_equations(equations: Sequence[Equation], fixed: set[Value]) -> list[Equation]:
    """The equations that give the same in every iteration."""
    found = []
    for eqn in equations:
        if all(x in fixed or isinstance(x, Literal) for x in eqn.inputs) and not eqn.effects:
            found.append(eqn)
            fixed.update(eqn.outputs)
    return found
