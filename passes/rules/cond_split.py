"""Partial evaluation of cond: the known parts of the branches, and the rest.

    known      index | known operands                        -> known outputs | slots
    unknown    index | operands and outputs of the first half, slots | unknown operands
                                                             -> unknown outputs

A slot carries a residual from the branch that ran to its second half. Branches share slots, since
only one of them runs; what is at hand outside of the branches needs no slot of its own, but goes
into one that its readers leave empty: then it need not be kept beside the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.builder import Builder
from ...ir.errors import PassError
from ...ir.graph import Atom, Equation, Graph, Value, memoised
from ...ir.ops.control import branch_outputs, cond
from ...ir.types import TensorType
from .. import tables
from ..partial_eval import Split, split_graph
from ..regions import Flags, equation, reject, select
from .cond import Branches, any_branch
from .scan_split import Halves

Source = tuple[str, int]
"""Where the second half finds a residual: ("operand", i), ("output", i) or ("slot", i)."""


@tables.split.rule(cond)
def split_cond(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    branches: Branches = eqn.params["branches"]
    if unknown[0]:
        if eqn.effects:
            raise PassError(
                "cond has effects, and which branch runs is unknown", eqn, stage="partial_eval"
            )
        return [], [eqn], (True,) * len(eqn.outputs)
    flags = tuple(unknown[1:])
    key = ("split cond", branches, flags)
    halves: _Halves = memoised(branches[0], key, lambda: _split(branches, flags))
    if halves.known is None:
        return [], [eqn], halves.unknown_out
    index, operands = eqn.inputs[0], reject(eqn.inputs[1:], flags)
    outputs = reject(eqn.outputs, halves.unknown_out)
    slots = [Value(t) for t in halves.slots]
    first: list[Equation] = []
    if outputs or slots or any(g.effects for g in halves.known):
        params = {"branches": halves.known}
        first = [equation(cond, (index, *operands), (*outputs, *slots), params, eqn)]
    at_hand: dict[str, Sequence[Atom]] = {"operand": operands, "output": outputs, "slot": slots}
    residuals = [at_hand[kind][i] for kind, i in halves.sources]
    made = select(eqn.outputs, halves.unknown_out)
    inputs = (index, *residuals, *select(eqn.inputs[1:], flags))
    second = [equation(cond, inputs, made, {"branches": halves.unknown}, eqn)] if made else []
    return first, second, halves.unknown_out


@dataclass(frozen=True)
class _Halves:
    """The branches of both halves; known is None if there is nothing to do before."""

    known: Branches | None
    unknown: Branches
    unknown_out: Flags
    slots: tuple[TensorType, ...]
    sources: tuple[Source, ...]


def _split(branches: Branches, unknown: Flags) -> _Halves:
    unknown_out = any_branch(branches, lambda g: split_graph(g, unknown).unknown_out)
    splits = [split_graph(g, unknown, unknown_out) for g in branches]
    if all(unknown_out) and not any(split.known.equations for split in splits):
        return _Halves(None, branches, unknown_out, (), ())
    n_known = len(unknown_out) - sum(unknown_out)
    slots: list[TensorType] = []
    found = [_find_sources(split, n_known, slots) for split in splits]
    _use_empty_slots(found, slots)
    sources = tuple(dict.fromkeys(source for each in found for source in each.values()))
    types = [_source_type(source, splits[0], slots) for source in sources]
    pairs = list(zip(splits, found, strict=True))
    known = tuple(_known_branch(split, each, n_known, slots) for split, each in pairs)
    slots = list(branch_outputs(known)[n_known:])
    rest = tuple(_unknown_branch(split, each, sources, types) for split, each in pairs)
    return _Halves(known, rest, unknown_out, tuple(slots), sources)


def _find_sources(split: Split, n_known: int, slots: list[TensorType]) -> dict[Value, Source]:
    """For each residual of a branch where to find it; adds the slots that are missing."""
    at_hand: dict[object, Source] = {v: ("operand", i) for i, v in enumerate(split.known.inputs)}
    for i, v in enumerate(split.known.outputs[:n_known]):
        at_hand.setdefault(v, ("output", i))
    free = list(range(len(slots)))
    sources: dict[Value, Source] = {}
    for r in split.residuals:
        if r in at_hand:
            sources[r] = at_hand[r]
            continue
        slot = next((i for i in free if slots[i] is r.type.strong), None)
        if slot is None:
            slot = len(slots)
            slots.append(r.type.strong)
        else:
            free.remove(slot)
        sources[r] = ("slot", slot)
    return sources


def _use_empty_slots(found: Sequence[dict[Value, Source]], slots: Sequence[TensorType]) -> None:
    """Move to slots what is at hand, if each branch that reads it leaves one of its type empty."""
    for source in dict.fromkeys(s for each in found for s in each.values() if s[0] != "slot"):
        readers = [(each, r) for each in found for r, s in each.items() if s == source]
        chosen = [_empty_slot(each, r, slots) for each, r in readers]
        for (each, r), slot in zip(readers, chosen, strict=True):
            if slot is not None and None not in chosen:
                each[r] = slot


def _empty_slot(
    sources: dict[Value, Source], residual: Value, slots: Sequence[TensorType]
) -> Source | None:
    filled = set(sources.values())
    for i, t in enumerate(slots):
        if t is residual.type.strong and ("slot", i) not in filled:
            return "slot", i
    return None


def _source_type(source: Source, split: Split, slots: Sequence[TensorType]) -> TensorType:
    kind, i = source
    if kind == "slot":
        return slots[i]
    return (split.known.inputs if kind == "operand" else split.known.outputs)[i].type


def _known_branch(
    split: Split, sources: dict[Value, Source], n_known: int, slots: Sequence[TensorType]
) -> Graph:
    """The known half of a branch; slots that it does not fill hold zeros."""
    b = Builder()
    for eqn in split.known.equations:
        b.append(eqn)
    filled = {i: r for r, (kind, i) in sources.items() if kind == "slot"}
    contents = [filled[i] if i in filled else b.full(t, 0) for i, t in enumerate(slots)]
    outputs = (*split.known.outputs[:n_known], *contents)
    return b.graph(split.known.inputs, outputs, split.known.name)


def _unknown_branch(
    split: Split,
    sources: dict[Value, Source],
    listed: Sequence[Source],
    types: Sequence[TensorType],
) -> Graph:
    """The unknown half of a branch, taking the residuals of all branches in one order."""
    taken = {source: r for r, source in sources.items()}
    residuals = [taken.get(s) or Value(t) for s, t in zip(listed, types, strict=True)]
    rest = split.unknown
    waiting = rest.inputs[len(split.residuals) :]
    return Graph((*residuals, *waiting), rest.equations, rest.outputs, rest.name)
