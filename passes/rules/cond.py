"""How cond transforms.

    inputs   index | operands      outputs  of the branch that the index chooses
    regions  branches: operands -> outputs

What one branch makes of an output (gives it a tangent, a batch axis, ...), all do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph
from ...ir.ops.control import cond
from ...ir.primitive import primitive_named
from ...ir.types import BOOL
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph, is_same, region_of
from ..effects import guarded, is_guard, may_act
from ..jvp import jvp_graph
from ..regions import (
    Flags,
    define_joint,
    either,
    nonzero,
    reject,
    select,
    spread,
    widened,
)
from ..shield import shielded
from ..tables import Operands, materialise_batch
from ..transpose import transpose_graph
from .effect import one_by_one
from .while_ import select_rows

Branches = tuple[Graph, ...]


def any_branch(branches: Branches, flags: Callable[[Graph], Sequence[bool]]) -> Flags:
    """What holds in one branch at least, position by position."""
    found: Flags = tuple(flags(branches[0]))
    for branch in branches[1:]:
        found = either(found, flags(branch))
    return found


# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(cond)
def jvp_cond(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The branch decides about primals and tangents at once; the index has no tangent."""
    branches: Branches = eqn.params["branches"]
    active = nonzero(tangents[1:])
    out_active = any_branch(branches, lambda branch: jvp_graph(branch, active)[1])
    if not any(out_active):
        b.append(eqn)
        return spread((), out_active, eqn.outputs)
    joint = tuple(jvp_graph(branch, active, out_active)[0] for branch in branches)
    inputs = (*eqn.inputs, *select(tangents[1:], active))
    return define_joint(b, eqn, inputs, {"branches": joint}, out_active)


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(cond)
def transpose_cond(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    branches: Branches = eqn.params["branches"]
    if linear[0]:
        raise PassError("the index of cond cannot be linear", eqn, stage="transpose")
    flags, given = tuple(linear[1:]), nonzero(cts)
    in_active = widened(any_branch(branches, lambda g: transpose_graph(g, flags, given)[1]), flags)
    backward = tuple(transpose_graph(g, flags, given, in_active)[0] for g in branches)
    operands = (eqn.inputs[0], *reject(eqn.inputs[1:], flags), *select(cts, given))
    found = b.emit(cond, *operands, branches=backward)
    return [Zero(eqn.inputs[0].type), *spread(found, in_active, eqn.inputs[1:])]


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(cond)
def batch_cond(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """With one index for all examples it stays a branch; with one for each, all branches run."""
    branches: Branches = eqn.params["branches"]
    flags = tuple(batched[1:])
    if batched[0]:
        return _batch_select(b, eqn, inputs, flags, size)
    out_batched = any_branch(branches, lambda g: batch_graph(g, flags, size)[1])
    each = tuple(batch_graph(g, flags, size, out_batched)[0] for g in branches)
    return b.emit(cond, *inputs, branches=each), out_batched


def _batch_select(
    b: Builder, eqn: Equation, inputs: Operands, batched: Flags, size: int
) -> tuple[Operands, Sequence[bool]]:
    """Run every branch and select; an output that is the same value in all needs no selection.

    Effects happen for the examples that are in the branch, and cotangents stay with them.
    """
    if is_guard(eqn) and eqn.effects:
        return one_by_one(b, eqn, inputs, (True, *batched), size)
    index, branches = inputs[0], eqn.params["branches"]
    everything = (True,) * len(inputs[1:])
    results = []
    for i, branch in enumerate(branches):
        branch = region_of(branch, (True,) * len(branch.outputs), everything)
        operands, flags = inputs[1:], batched
        for watched in _watched(branch, batched):
            here = _is_chosen(b, index, i, len(branches))
            branch, operands, flags = watched, (here, *operands), (True, *flags)
        graph, out_batched = batch_graph(branch, flags, size)
        results.append(list(zip(b.inline(graph, operands), out_batched, strict=True)))
    outputs, out_flags = [], []
    for cases in zip(*results, strict=True):
        first, is_batched = cases[0]
        if all(x is first for x, _ in cases):
            outputs.append(first)
            out_flags.append(is_batched)
            continue
        rows = [materialise_batch(b, x, was, size) for x, was in cases]
        outputs.append(select_rows(b, index, rows) if len(rows) > 1 else rows[0])
        out_flags.append(True)
    return outputs, out_flags


def _watched(branch: Graph, batched: Flags) -> Iterator[Graph]:
    """The branch, taking one more input each time, that says which examples are in it: for the
    shields of derivatives, and for the guards of effects."""
    with_shields = shielded(branch, batched)
    if with_shields is not None:
        yield with_shields
    if may_act(branch):
        yield guarded(with_shields or branch)


def _is_chosen(b: Builder, index: Operand, i: int, n: int) -> Operand:
    """For each example whether its index chooses branch i of n."""
    if index.type.dtype == BOOL:
        return index if i else b.emit(primitive_named("not"), index)[0]
    if i < n - 1:
        return b.eq(index, b.literal(i, index.type))
    above = b.ge(index, b.literal(i, index.type))
    below = b.lt(index, b.literal(0, index.type))
    return b.emit(primitive_named("or"), above, below)[0]


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(cond)
def prune_cond(eqn: Equation, used: Flags) -> Equation:
    """Drop outputs that nobody reads from all branches, and operands that none needs."""
    branches: Branches = eqn.params["branches"]
    kept = any_branch(branches, lambda g: dce_graph(g, used)[1])
    pruned = tuple(region_of(g, used, kept) for g in branches)
    return eqn.replace(
        inputs=(eqn.inputs[0], *select(eqn.inputs[1:], kept)),
        outputs=tuple(select(eqn.outputs, used)),
        params={"branches": branches if is_same(pruned, branches) else pruned},
    )
