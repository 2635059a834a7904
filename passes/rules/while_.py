"""How while transforms.

    inputs   cond_consts | body_consts | carry      outputs  carry
    regions  condition: cond_consts | carry -> bool[], body: body_consts | carry -> carry

Reverse mode needs the number of iterations before it runs: a loop that counts to a bound that the
program states becomes a scan (`counted`); for others it is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder, Operand
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.call import call
from ...ir.ops.control import split_sizes, while_, while_sizes
from ...ir.types import BOOL, TensorType
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..jvp import jvp_graph
from ..partial_eval import split_graph
from ..regions import (
    Flags,
    arranged,
    define_joint,
    either,
    equation,
    grow_until_stable,
    instantiated,
    merge_groups,
    nonzero,
    select,
    spread,
)
from ..tables import Operands, materialise_batch
from .counted import as_scan
from .scan import transpose_scan
from .scan_split import Halves, split_scan

# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(while_)
def jvp_while(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """One loop for primals and tangents; the condition reads primals only."""
    condition, body = eqn.params["cond_graph"], eqn.params["body_graph"]
    sizes = n_cond, n_body = while_sizes(eqn)
    _, consts, carry = split_sizes(nonzero(tangents), sizes)
    carry = grow_until_stable(carry, lambda active: jvp_graph(body, (*consts, *active))[1])
    forward, _ = jvp_graph(body, (*consts, *carry), carry)
    if not any(carry):
        b.append(eqn)
        return spread((), carry, eqn.outputs)
    active = (*(False,) * n_cond, *consts, *carry)
    dxs = instantiated(b, tangents, active)
    n_in, n_out = len(body.inputs), len(body.outputs)
    d_sizes = (sum(consts),)
    joint_body = arranged(
        forward,
        merge_groups(forward.inputs[:n_in], (n_body,), forward.inputs[n_in:], d_sizes),
        forward.outputs,
    )
    unread = [Value(v.type) for v in forward.outputs[n_out:]]
    params = {
        "cond_graph": _with_more_inputs(condition, unread),
        "body_graph": joint_body,
        "cond_nconsts": n_cond,
        "body_nconsts": n_body + d_sizes[0],
    }
    inputs = merge_groups(eqn.inputs, sizes, dxs, (0, *d_sizes))
    return define_joint(b, eqn, inputs, params, carry)


def _with_more_inputs(graph: Graph, more: Sequence[Value]) -> Graph:
    """The graph with inputs that it does not read."""
    key = ("more inputs", tuple(v.type for v in more))
    made: Graph = memoised(
        graph,
        key,
        lambda: Graph((*graph.inputs, *more), graph.equations, graph.outputs, graph.name),
    )
    return made


# -- partial evaluation --------------------------------------------------------------------------


@tables.split.rule(while_)
def split_while(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    """What does not depend on unknown values in a loop of its own; the rest waits.

    With a number of iterations that is known, the loop is a scan and splits as one. Otherwise the
    second loop computes what it needs of the known values again, since it has nowhere to keep them.
    """
    body: Graph = eqn.params["body_graph"]
    cond_consts, consts, carry = split_sizes(unknown, while_sizes(eqn))
    carry = grow_until_stable(
        carry, lambda active: split_graph(body, (*consts, *active)).unknown_out
    )
    condition_unknown = any(
        split_graph(eqn.params["cond_graph"], (*cond_consts, *carry)).unknown_out
    )
    if not condition_unknown:
        counted = as_scan(eqn)
        if counted is not None:
            return split_scan(counted, [*unknown[len(cond_consts) :]])
    if eqn.effects:
        raise PassError(
            "while has effects, and parts of it depend on unknown values",
            eqn,
            stage="partial_eval",
        )
    if condition_unknown or all(carry):
        return [], [eqn], (True,) * len(carry)
    if not any(carry):
        return [eqn], [], carry
    known = prune_while(eqn, tuple(not u for u in carry))
    kept = [v if u else None for v, u in zip(eqn.outputs, carry, strict=True)]
    again = equation(while_, eqn.inputs, kept, eqn.params, eqn)
    return [known], [again], carry


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(while_)
def transpose_while(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    counted = as_scan(eqn)
    if counted is None:
        raise PassError(
            "while has no reverse mode: how often it runs is not known before it does, so there is "
            "no place to keep what the backward pass needs of each iteration",
            eqn,
            stage="transpose",
            hint="use fori_loop or scan with a fixed number of iterations (where or cond inside "
            "can stop early), forward mode (jvp, jacfwd), or give the function a custom_vjp rule",
        )
    n_cond = eqn.params["cond_nconsts"]
    found = transpose_scan(b, counted, cts, linear[n_cond:])
    return [*spread((), (False,) * n_cond, eqn.inputs[:n_cond]), *found]


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
    """
    sizes = while_sizes(eqn)
    cond_consts, consts, carry = split_sizes(inputs, sizes)
    cond_flags, const_flags, carry_flags = split_sizes(batched, sizes)
    condition, _ = batch_graph(eqn.params["cond_graph"], (*cond_flags, *carry_flags), size)
    body, _ = batch_graph(eqn.params["body_graph"], (*const_flags, *carry_flags), size, carry_flags)
    key = ("lockstep", condition, len(consts), carry_flags)
    any_runs, step = memoised(
        body, key, lambda: _lockstep_graphs(condition, body, len(cond_consts), carry_flags, size)
    )
    (running,) = b.emit(call, *cond_consts, *carry, graph=condition)
    outputs = b.emit(
        while_,
        *(*cond_consts, *consts, running, *carry),
        cond_graph=any_runs,
        body_graph=step,
        cond_nconsts=0,
        body_nconsts=len(cond_consts) + len(consts),
    )
    return outputs[1:], carry_flags


def _lockstep_graphs(
    condition: Graph, body: Graph, n_cond: int, batched: Flags, size: int
) -> tuple[Graph, Graph]:
    n_consts = len(body.inputs) - len(batched)
    running = Value(TensorType((size,), BOOL), "running")
    carry = body.inputs[n_consts:]
    b = Builder()
    any_runs = b.graph(
        (running, *(Value(v.type, v.name) for v in carry)),
        [b.reduce_or(running, axes=(0,))],
        condition.name,
    )
    b = Builder()
    cond_consts = [Value(v.type, v.name) for v in condition.inputs[:n_cond]]
    new = b.inline(body, body.inputs)
    state = [
        select_rows(b, running, (old, x)) if is_batched else x
        for old, x, is_batched in zip(carry, new, batched, strict=True)
    ]
    still = b.inline(condition, (*cond_consts, *state))
    inputs = (*cond_consts, *body.inputs[:n_consts], running, *carry)
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
            "cond_graph": region_of(condition, (True,), (*needed[:n_cond], *live)),
            "body_graph": region_of(body, live, (*consts, *live)),
            "cond_nconsts": sum(needed[:n_cond]),
            "body_nconsts": sum(consts),
        },
    )
