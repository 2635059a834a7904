"""How loops whose states are found again transform.

    replay   n | consts | snapshots | tangent | xs -> tangent | ys
    rewind   n | consts | snapshots | adjoint | xs -> adjoint | ys

Each is linear in its carry, and in those consts and xs that the loop itself does not read: there
they are each other's transposes. In its states neither is linear: derivatives along those are of
the loops that they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ...ir.builder import Builder, Operand
from ...ir.graph import Constant, Equation, Graph, Value, memoised
from ...ir.ops.call import call
from ...ir.ops.control import split_sizes
from ...ir.ops.rewind import ALONG, along, replay, rewind, rewind_groups
from ...ir.rewinding import expand, expand_stored
from ...ir.types import TensorType
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..effects import guard, guarded, may_act, without_effects
from ..partial_eval import Split, split_graph
from ..regions import (
    Flags,
    arranged,
    either,
    equation,
    grow_until_stable,
    instantiated,
    nonzero,
    reject,
    select,
    spread,
    with_more_inputs,
)
from ..tables import Operands, materialise_batch
from .backward import backward_body, swap_leading
from .call import jvp_call, split_call, transpose_call

Halves = tuple[list[Equation], list[Equation], Sequence[bool]]
OTHER: Final = {replay: rewind, rewind: replay}


def _called(eqn: Equation, expansion: Graph) -> Equation:
    return equation(call, eqn.inputs, eqn.outputs, {"graph": expansion}, eqn)


def _differentiable(eqn: Equation) -> Equation:
    """A call of loops that can be differentiated in reverse."""
    known_length = eqn.params["length"] is not None
    return _called(eqn, expand_stored(eqn) if known_length else expand(eqn))


def reads_state(eqn: Equation) -> Flags:
    """Which operands the loop itself depends on."""
    step: Graph = eqn.params["step"]
    _, needed = dce_graph(step)
    n_consts, n_state = eqn.params["num_consts"], eqn.params["num_state"]
    consts, _, xs = split_sizes(needed, (n_consts, n_state))
    count, _, kept, carry, _ = rewind_groups(eqn, eqn.inputs)
    return (
        *(True for _ in (*count,)),
        *consts,
        *(True for _ in kept),
        *(False for _ in carry),
        *xs,
    )


def _depends(eqn: Equation, flags: Sequence[bool]) -> bool:
    return any(f and reads for f, reads in zip(flags, reads_state(eqn), strict=True))


@tables.jvp.rule(replay, rewind)
def jvp_rewind(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    return jvp_call(b, _called(eqn, expand(eqn)), tangents)


@tables.split.rule(replay, rewind)
def split_rewind(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    """It waits as it is where its states are known; else the loops that it stands for split."""
    if not _depends(eqn, unknown):
        return [], [eqn], (True,) * len(eqn.outputs)
    return split_call(_differentiable(eqn), unknown)


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(replay, rewind)
def transpose_rewind(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """The same loop in the other direction, cotangents of the consts summed up in carries:

    fixed consts | snapshots | ct_consts ct_carry | fixed xs, ct_ys -> ct_consts ct_carry | ct_xs
    """
    beside = along(eqn)
    n_carry = eqn.params["num_carry"]
    _, l_consts, l_kept, l_carry, l_xs = rewind_groups(eqn, linear)
    carry_linear = grow_until_stable(
        l_carry,
        lambda c: split_graph(beside, (*l_consts, *l_kept, *c, *l_xs)).unknown_out[:n_carry],
    )
    if not all(carry_linear) or _depends(eqn, linear):
        return transpose_call(b, _differentiable(eqn), cts, linear)
    flags = (*l_consts, *l_kept, *carry_linear, *l_xs)
    sizes = (len(l_consts) + len(l_kept), n_carry)
    back, in_active, ct_carry, ct_ys = backward_body(beside, sizes, flags, nonzero(cts))
    count, consts, kept, _, xs = rewind_groups(eqn, eqn.inputs)
    consts_active, _, _, xs_active = split_sizes(in_active, (len(consts), len(kept), n_carry))
    sums = [b.full(x.type, 0) for x in select(consts, consts_active)]
    carry = (*sums, *instantiated(b, cts[:n_carry], ct_carry))
    ys = select(cts[n_carry:], ct_ys)
    other = OTHER[eqn.primitive]
    params = {
        **{name: value for name, value in eqn.params.items() if name != ALONG[eqn.primitive]},
        "step": _step_beside(eqn, l_consts, l_xs, [y.type for y in ys]),
        ALONG[other]: back,
        "num_consts": len(consts) - sum(l_consts),
        "num_carry": len(carry),
    }
    operands = (*count, *reject(consts, l_consts), *kept, *carry, *reject(xs, l_xs), *ys)
    found = b.emit(other, *operands, **params)
    active = (*(False for _ in count), *consts_active, *(False for _ in kept))
    return spread(found, (*active, *ct_carry, *xs_active), eqn.inputs)


def _step_beside(
    eqn: Equation, l_consts: Flags, l_xs: Flags, stacks: Sequence[TensorType]
) -> Graph:
    """The loop's own step, which reads neither what is linear nor the slices of these stacks."""
    step: Graph = eqn.params["step"]
    consts, state, xs = split_sizes(step.inputs, (len(l_consts), eqn.params["num_state"]))
    inputs = (*reject(consts, l_consts), *state, *reject(xs, l_xs))
    return with_more_inputs(
        arranged(step, inputs, step.outputs), [t.with_shape(t.shape[1:]) for t in stacks]
    )


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(replay, rewind)
def batch_rewind(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """All examples together; with a number of steps for each, those that are done stay as they are
    until the last is."""
    if eqn.params["length"] is None and batched[0]:
        eqn, inputs, batched = _until_last(b, eqn, inputs, batched)
    step, beside = eqn.params["step"], along(eqn)
    n_carry = eqn.params["num_carry"]
    _, consts, kept, carry, xs = rewind_groups(eqn, batched)
    state = grow_until_stable(
        kept, lambda active: batch_graph(step, (*consts, *active, *xs), size)[1]
    )
    carry = grow_until_stable(
        carry,
        lambda active: batch_graph(beside, (*consts, *state, *active, *xs), size)[1][:n_carry],
    )
    n_ys = len(beside.outputs) - n_carry
    steps, _ = batch_graph(step, (*consts, *state, *xs), size, state)
    flags = (*consts, *state, *carry, *xs)
    besides, out_batched = batch_graph(beside, flags, size, (*carry, *(False,) * n_ys))
    count, const_inputs, kept_inputs, carry_inputs, xs_inputs = rewind_groups(eqn, inputs)
    operands = (
        *(*count, *const_inputs),
        *_stacked_batches(b, kept_inputs, kept, state, size),
        *_batches(b, carry_inputs, rewind_groups(eqn, batched)[3], carry, size),
        *_stacked_batches(b, xs_inputs, xs, xs, size),
    )
    params = {**eqn.params, "step": steps, ALONG[eqn.primitive]: besides}
    found = b.emit(eqn.primitive, *operands, **params)
    outputs = [
        swap_leading(b, y) if i >= n_carry and is_batched else y
        for i, (y, is_batched) in enumerate(zip(found, out_batched, strict=True))
    ]
    return outputs, out_batched


def _batches(
    b: Builder, items: Operands, was: Sequence[bool], now: Sequence[bool], size: int
) -> list[Operand]:
    return [
        materialise_batch(b, x, was_batched, size) if is_batched else x
        for x, was_batched, is_batched in zip(items, was, now, strict=True)
    ]


def _stacked_batches(
    b: Builder, items: Operands, was: Sequence[bool], now: Sequence[bool], size: int
) -> list[Operand]:
    found = _batches(b, items, was, now, size)
    return [swap_leading(b, x) if now_ else x for x, now_ in zip(found, now, strict=True)]


def _until_last(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool]
) -> tuple[Equation, Operands, Sequence[bool]]:
    """As many steps as the last example takes. The others are told by a const and a state that
    counts: a step beyond an example's own changes nothing."""
    (n,), consts, kept, carry, _ = rewind_groups(eqn, inputs)
    is_batched = rewind_groups(eqn, batched)
    positions = np.array(eqn.params["positions"], n.type.dtype)
    table = Constant(positions, TensorType(positions.shape, n.type.dtype), "positions")
    most = b.reduce_max(n, axes=(0,))
    operands = (most, n, *consts, b.constant(value=table), *kept, *carry)
    flags = (False, True, *is_batched[1], False, *is_batched[2], *is_batched[3])
    step, beside = memoised(
        along(eqn), ("until last", eqn.params["step"], len(consts)), lambda: _while_there(eqn)
    )
    params = {
        **eqn.params,
        "step": step,
        ALONG[eqn.primitive]: beside,
        "num_consts": len(consts) + 1,
        "num_state": len(kept) + 1,
    }
    types = [Value(_unbatched(x.type, f)) for x, f in zip(operands, flags, strict=True)]
    return equation(eqn.primitive, types, eqn.outputs, params, eqn), operands, flags


def _unbatched(type: TensorType, is_batched: bool) -> TensorType:
    return type.with_shape(type.shape[1:]) if is_batched else type


def _while_there(eqn: Equation) -> tuple[Graph, Graph]:
    """Both graphs with a const n and a state i: where i >= n, what they carry stays, and effects
    do not happen."""
    step: Graph = eqn.params["step"]
    n_consts, n_state = eqn.params["num_consts"], eqn.params["num_state"]

    def stopping(graph: Graph, counts: bool, first: int) -> Graph:
        b = Builder()
        n, i = (Value(eqn.inputs[0].type.strong, name) for name in ("n", "i"))
        there = b.lt(i, n)
        if may_act(graph):
            new = b.inline(guarded(graph), (there, *graph.inputs))
        else:
            new = b.inline(graph, graph.inputs)
        old = graph.inputs[first:][: len(new)]
        outputs = [b.select_n(there, x, y) for x, y in zip(old, new, strict=True)]
        consts, state, rest = split_sizes(graph.inputs, (n_consts, n_state))
        inputs = (n, *consts, i, *state, *rest)
        return b.graph(inputs, (*([b.add(i, 1)] if counts else []), *outputs), graph.name)

    return stopping(step, True, n_consts), stopping(along(eqn), False, n_consts + n_state)


@guard.rule(replay, rewind)
def guard_rewind(b: Builder, eqn: Equation, here: Value) -> Equation:
    """`here` is one more const, of what runs beside the loop; the loop itself has no effects."""
    step: Graph = eqn.params["step"]
    changed = {
        "step": arranged(step, (Value(here.type), *step.inputs), step.outputs),
        ALONG[eqn.primitive]: guarded(along(eqn)),
        "num_consts": eqn.params["num_consts"] + 1,
    }
    count, *groups = rewind_groups(eqn, eqn.inputs)
    inputs = (*count, here, *(x for group in groups for x in group))
    return eqn.replace(inputs=inputs, params={**eqn.params, **changed})


# -- from the body of a loop ----------------------------------------------------------------------


def step_of(body: Graph, n_consts: int, n_carry: int, split: Split) -> Graph:
    """consts | known carry | xs -> known carry: a loop's body without effects, which happened."""
    known = split.known

    def make() -> Graph:
        consts, carry, xs = split_sizes(body.inputs, (n_consts, n_carry))
        bound = set(known.inputs)
        state = [v for v in carry if v in bound]
        outputs = known.outputs[: len(state)]
        equations = without_effects(known.equations, outputs)
        return Graph((*consts, *state, *xs), equations, outputs, f"{body.name}.step")

    made: Graph = memoised(known, ("step", n_consts, n_carry), make)
    return made


def push_of(body: Graph, n_consts: int, n_carry: int, split: Split) -> Graph:
    """consts | known carry | unknown carry | xs -> unknown carry | unknown ys: the body's unknown
    half and what it needs of the other, with effects of the unknown half only."""
    known, unknown = split.known, split.unknown

    def make() -> Graph:
        consts, carry, xs = split_sizes(body.inputs, (n_consts, n_carry))
        is_known = [v in set(known.inputs) for v in carry]
        happened = set(known.equations)
        rest = [eqn for eqn in unknown.equations if eqn not in happened]
        needed = [*unknown.outputs, *(x for eqn in rest for x in eqn.inputs)]
        equations = [*without_effects(known.equations, needed), *rest]
        inputs = (*consts, *select(carry, is_known), *reject(carry, is_known), *xs)
        return Graph(inputs, equations, unknown.outputs, f"{body.name}.push")

    made: Graph = memoised(unknown, ("push", n_consts, n_carry), make)
    return made


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(replay, rewind)
def prune_rewind(eqn: Equation, used: Flags) -> Equation:
    """Drop what no reader needs of the carry and the ys, then of the states, consts and xs."""
    step, beside = eqn.params["step"], along(eqn)
    n_consts, n_state, n_carry = (eqn.params[f"num_{x}"] for x in ("consts", "state", "carry"))
    sizes = (n_consts, n_state, n_carry)

    def before(live: Flags) -> Flags:
        needed = dce_graph(beside, (*live, *used[n_carry:]))[1]
        return split_sizes(needed, sizes)[2]

    carry = grow_until_stable(used[:n_carry], before)
    outputs = (*carry, *used[n_carry:])
    consts, state, _, xs = split_sizes(dce_graph(beside, outputs)[1], sizes)
    state = grow_until_stable(
        state, lambda live: split_sizes(dce_graph(step, live)[1], sizes[:2])[1]
    )
    step_consts, _, step_xs = split_sizes(dce_graph(step, state)[1], sizes[:2])
    consts, xs = either(consts, step_consts), either(xs, step_xs)
    count = rewind_groups(eqn, eqn.inputs)[0]
    kept = (*(True for _ in count), *consts, *state, *carry, *xs)
    return eqn.replace(
        inputs=tuple(select(eqn.inputs, kept)),
        outputs=tuple(select(eqn.outputs, outputs)),
        params={
            **eqn.params,
            "step": region_of(step, state, (*consts, *state, *xs)),
            ALONG[eqn.primitive]: region_of(beside, outputs, (*consts, *state, *carry, *xs)),
            "num_consts": sum(consts),
            "num_state": sum(state),
            "num_carry": sum(carry),
        },
    )
