"""How while transforms.

    inputs   cond_consts | body_consts | carry      outputs  carry
    regions  condition: cond_consts | carry -> bool[], body: body_consts | carry -> carry

Its partial evaluation and its transpose are in `while_split`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder, Operand
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.call import call
from ...ir.ops.control import split_sizes, while_, while_sizes
from .. import tables
from ..activity import pushed_outputs
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..effects import guarded, may_act
from ..jvp import jvp_graph
from ..regions import (
    Flags,
    arranged,
    define_joint,
    either,
    grow_until_stable,
    instantiated,
    merge_groups,
    moving,
    nonzero,
    select,
    widened,
    with_fixed,
    with_more_inputs,
)
from ..shield import shielded
from ..tables import Operands, materialise_batch

# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(while_)
def jvp_while(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """One loop for primals and tangents; the condition reads primals only.

    A tangent that every iteration hands on as it is is not carried: it is that of the start.
    """
    condition, body = eqn.params["cond_graph"], eqn.params["body_graph"]
    sizes = n_cond, n_body = while_sizes(eqn)
    _, consts, carry = split_sizes(nonzero(tangents), sizes)
    most = [v.type.has_tangent for v in body.outputs]
    carry = grow_until_stable(carry, lambda active: pushed_outputs(body, (*consts, *active)), most)
    forward, _ = jvp_graph(body, (*consts, *carry), carry)
    n_in, n_out = len(body.inputs), len(body.outputs)
    d_sizes = (sum(consts), sum(carry))
    ends = forward.outputs[n_out:]
    moves = moving(forward.inputs[n_in + d_sizes[0] :], ends)
    n_fixed = sum(d_sizes) - sum(moves)
    starts = tangents[sum(sizes) :]
    if not any(moves):
        b.append(eqn)
        return starts
    dvalues = with_fixed(forward.inputs[n_in:], d_sizes, moves)
    params = {
        **eqn.params,
        "cond_graph": with_more_inputs(condition, [v.type for v in dvalues[n_fixed:]]),
        "body_graph": arranged(
            forward,
            merge_groups(forward.inputs[:n_in], (n_body,), dvalues, (n_fixed,)),
            (*forward.outputs[:n_out], *select(ends, moves)),
        ),
        "cond_nconsts": n_cond,
        "body_nconsts": n_body + n_fixed,
    }
    dxs = instantiated(b, tangents, (*(False,) * n_cond, *consts, *carry))
    inputs = merge_groups(eqn.inputs, sizes, with_fixed(dxs, d_sizes, moves), (0, n_fixed))
    carry_moves = widened(moves, carry)
    found = define_joint(b, eqn, inputs, params, carry_moves)
    return [dy if m else dx for dy, dx, m in zip(found, starts, carry_moves, strict=True)]


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(while_)
def batch_while(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """With one condition for all examples: a loop that carries batches.

    With a condition for each: a loop until the last example is done, in which those that are done
    keep their carries.
    """
    condition, body = eqn.params["cond_graph"], eqn.params["body_graph"]
    sizes = while_sizes(eqn)
    cond_consts, consts, carry = split_sizes(batched, sizes)
    carry = grow_until_stable(carry, lambda active: batch_graph(body, (*consts, *active), size)[1])
    condition_batch, (separate,) = batch_graph(condition, (*cond_consts, *carry), size)
    starts = inputs[sum(sizes) :]
    if separate:
        fresh = [out is not v for v, out in zip(body.inputs[sizes[1] :], body.outputs, strict=True)]
        carry = either(carry, fresh)
    was_batched = batched[sum(sizes) :]
    state = [
        materialise_batch(b, x, was, size) if now else x
        for x, was, now in zip(starts, was_batched, carry, strict=True)
    ]
    if separate:
        return _lockstep(
            b, eqn, (*inputs[: sum(sizes)], *state), (*batched[: sum(sizes)], *carry), size
        )
    body_batch, _ = batch_graph(body, (*consts, *carry), size, carry)
    params = {**eqn.params, "cond_graph": condition_batch, "body_graph": body_batch}
    return b.emit(while_, *inputs[: sum(sizes)], *state, **params), carry


def _lockstep(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """Loop until every example is done: the first carry says which still run.

    running, x -> running', x'    where  x' = select(running, body(x), x), running' = condition(x')

    Effects are those of the examples that still run, and so are cotangents in the body.
    """
    cond_consts, consts, carry = split_sizes(inputs, while_sizes(eqn))
    cond_flags, const_flags, carry_flags = split_sizes(batched, while_sizes(eqn))
    condition, body = eqn.params["cond_graph"], eqn.params["body_graph"]
    test, _ = batch_graph(condition, (*cond_flags, *carry_flags), size)
    again, _ = batch_graph(guarded(condition), (True, *cond_flags, *carry_flags), size)
    running_only = _for_running(body, (*const_flags, *carry_flags))
    step, _ = batch_graph(running_only, (True, *const_flags, *carry_flags), size, carry_flags)
    key = ("lockstep", again, len(consts), carry_flags)
    any_runs, loop = memoised(
        step, key, lambda: _lockstep_graphs(again, step, len(cond_consts), carry_flags)
    )
    (running,) = b.emit(call, *cond_consts, *carry, graph=test)
    outputs = b.emit(
        while_,
        *(*cond_consts, *consts, running, *carry),
        cond_graph=any_runs,
        body_graph=loop,
        cond_nconsts=0,
        body_nconsts=len(cond_consts) + len(consts),
        snapshots=eqn.params["snapshots"],
    )
    return outputs[1:], carry_flags


def _for_running(body: Graph, batched: Flags) -> Graph:
    """running: bool[] | consts | carry -> carry': effects and cotangents of those that run."""
    with_shields = shielded(body, batched)
    if with_shields is None or not may_act(body):
        return with_shields or guarded(body)
    both = guarded(with_shields)  # takes the flag twice
    b = Builder()
    running, *others = (Value(v.type, v.name) for v in with_shields.inputs)
    return b.graph((running, *others), b.inline(both, (running, running, *others)), body.name)


def _lockstep_graphs(
    condition: Graph, body: Graph, n_cond: int, batched: Flags
) -> tuple[Graph, Graph]:
    """Both take which examples run first, then consts and carry."""
    n_consts = len(body.inputs) - len(batched) - 1
    running = Value(body.inputs[0].type, "running")
    consts, carry = split_sizes(body.inputs[1:], (n_consts,))
    runs = Value(running.type, "running")
    b = Builder()
    others = [Value(v.type, v.name) for v in carry]
    any_runs = b.graph((runs, *others), [b.reduce_or(runs, axes=(0,))], condition.name)
    b = Builder()
    cond_consts = [Value(v.type, v.name) for v in condition.inputs[1 : 1 + n_cond]]
    new = b.inline(body, (running, *consts, *carry))
    state = [
        select_rows(b, running, (old, x)) if is_batched else x
        for old, x, is_batched in zip(carry, new, batched, strict=True)
    ]
    still = b.inline(condition, (running, *cond_consts, *state))
    inputs = (*cond_consts, *consts, running, *carry)
    return any_runs, b.graph(inputs, (*still, *state), body.name)


def select_rows(b: Builder, which: Operand, cases: Sequence[Operand]) -> Operand:
    """For each example the case that `which`, of shape [batch], says."""
    shape = cases[0].type.shape
    if len(shape) > 1:
        which = b.broadcast(which, shape, (0,))
    return b.select_n(which, *cases)


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(while_)
def prune_while(eqn: Equation, used: Flags) -> Equation:
    """Drop carries that neither readers nor the condition need, and unused consts."""
    condition, body = eqn.params["cond_graph"], eqn.params["body_graph"]
    n_cond, n_body = while_sizes(eqn)
    needed = dce_graph(condition)[1]

    def step(live: Flags) -> Flags:
        return dce_graph(body, live)[1][n_body:]

    live = grow_until_stable(either(used, needed[n_cond:]), step)
    consts = dce_graph(body, live)[1][:n_body]
    kept = (*needed[:n_cond], *consts, *live)
    return eqn.replace(
        inputs=tuple(select(eqn.inputs, kept)),
        outputs=tuple(select(eqn.outputs, live)),
        params={
            **eqn.params,
            "cond_graph": region_of(condition, (True,), (*needed[:n_cond], *live)),
            "body_graph": region_of(body, live, (*consts, *live)),
            "cond_nconsts": sum(needed[:n_cond]),
            "body_nconsts": sum(consts),
        },
    )
