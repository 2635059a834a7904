"""How scan transforms. Its partial evaluation is in `scan_split`.

    inputs   consts | carry | xs        outputs  carry | ys
    region   consts | carry | x                  carry | y

A carry that becomes active (gets a tangent, a cotangent, a batch axis, a reader) in some iteration
is active in all of them: which ones do is one fixpoint, `grow_until_stable`, in every rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder, Operand
from ...ir.graph import Equation, Graph
from ...ir.ops.control import scan, scan_sizes, split_sizes
from ...ir.ops.shape import broadcast_in_dim
from .. import tables
from ..activity import pushed_outputs
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..jvp import jvp_graph
from ..regions import (
    Flags,
    arranged,
    define_joint,
    grow_until_stable,
    instantiated,
    merge_groups,
    moving,
    nonzero,
    reject,
    select,
    spread,
    widened,
    with_fixed,
)
from ..tables import Operands, materialise_batch
from ..transpose import transpose_into
from .backward import backward_body, swap_leading
from .scan_split import split_scan, unknown_carries

# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(scan)
def jvp_scan(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """One loop: consts dconsts | carry dcarry | xs dxs -> carry dcarry | ys dys.

    A tangent that every iteration hands on as it is is a const, and its own result.
    """
    graph: Graph = eqn.params["graph"]
    sizes = n_consts, n_carry = scan_sizes(eqn)
    consts, carry, xs = split_sizes(nonzero(tangents), sizes)

    def step(active: Flags) -> Flags:
        return pushed_outputs(graph, (*consts, *active, *xs))[:n_carry]

    most = [v.type.has_tangent for v in graph.outputs[:n_carry]]
    carry = grow_until_stable(carry, step, most)
    force = (*carry, *(False for _ in graph.outputs[n_carry:]))
    forward, out_active = jvp_graph(graph, (*consts, *carry, *xs), force)
    n_in, n_out = len(graph.inputs), len(graph.outputs)
    d_sizes = n_dconsts, n_dcarry = (sum(consts), sum(carry))
    ends, dys = split_sizes(forward.outputs[n_out:], (n_dcarry,))
    moves = moving(forward.inputs[n_in + n_dconsts :][:n_dcarry], ends)
    starts = tangents[n_consts : n_consts + n_carry]
    if not any(moves) and not dys:
        b.append(eqn)
        return [*starts, *spread((), out_active[n_carry:], eqn.outputs[n_carry:])]
    joint_sizes = (sum(d_sizes) - sum(moves), sum(moves))
    dvalues = with_fixed(forward.inputs[n_in:], d_sizes, moves)
    body = arranged(
        forward,
        merge_groups(forward.inputs[:n_in], sizes, dvalues, joint_sizes),
        merge_groups(
            forward.outputs[:n_out], sizes[1:], (*select(ends, moves), *dys), joint_sizes[1:]
        ),
    )
    params = {
        **eqn.params,
        "graph": body,
        "num_consts": n_consts + joint_sizes[0],
        "num_carry": n_carry + joint_sizes[1],
    }
    dxs = with_fixed(instantiated(b, tangents, (*consts, *carry, *xs)), d_sizes, moves)
    inputs = merge_groups(eqn.inputs, sizes, dxs, joint_sizes)
    made = (*widened(moves, carry), *out_active[n_carry:])
    found = define_joint(b, eqn, inputs, params, made, sizes=sizes[1:])
    return [
        dx if is_active and not is_made else dy
        for dy, dx, is_active, is_made in zip(
            found, (*starts, *found[n_carry:]), out_active, made, strict=True
        )
    ]


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(scan)
def transpose_scan(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """The loop in the other direction, cotangents of the consts summed up in carries of their own:

    residual consts | ct_consts ct_carry | residual xs, ct_ys  ->  ct_consts ct_carry | ct_xs
    """
    graph: Graph = eqn.params["graph"]
    n_consts, n_carry = scan_sizes(eqn)
    carries_linear = unknown_carries(eqn, linear)
    if not all(carries_linear):
        return _transpose_mixed(b, eqn, cts, linear)
    flags = (*linear[:n_consts], *carries_linear, *linear[n_consts + n_carry :])
    body, in_active, ct_carry, ct_ys = backward_body(
        graph, (n_consts, n_carry), flags, nonzero(cts)
    )
    consts, _, xs = split_sizes(eqn.inputs, (n_consts, n_carry))
    consts_active, _, xs_active = split_sizes(in_active, (n_consts, n_carry))
    fixed = [x for x, is_linear in zip(consts, flags, strict=False) if not is_linear]
    slices = [
        x for x, is_linear in zip(xs, flags[n_consts + n_carry :], strict=True) if not is_linear
    ]
    sums = [b.full(x.type, 0) for x in select(consts, consts_active)]
    state = (*sums, *instantiated(b, cts[:n_carry], ct_carry))
    rows = [*slices, *select(cts[n_carry:], ct_ys)]
    body, fixed, rows = _without_repeated_rows(b, body, fixed, len(state), rows)
    found = b.emit(
        scan,
        *(*fixed, *state, *rows),
        **{
            **eqn.params,
            "graph": body,
            "num_consts": len(fixed),
            "num_carry": len(state),
            "reverse": not eqn.params["reverse"],
        },
    )
    return spread(found, (*consts_active, *ct_carry, *xs_active), eqn.inputs)


def _without_repeated_rows(
    b: Builder, body: Graph, consts: list[Operand], n_carry: int, xs: list[Operand]
) -> tuple[Graph, list[Operand], list[Operand]]:
    """Make consts of those xs that repeat one row (the cotangents of a sum over all steps)."""
    rows = [_repeated_row(b, x) for x in xs]
    repeated = [row is not None for row in rows]
    if not any(repeated):
        return body, consts, xs
    own, carry, slices = split_sizes(body.inputs, (len(consts), n_carry))
    inputs = (*own, *select(slices, repeated), *carry, *reject(slices, repeated))
    return (
        arranged(body, inputs, body.outputs),
        [*consts, *(row for row in rows if row is not None)],
        reject(xs, repeated),
    )


def _repeated_row(b: Builder, x: Operand) -> Operand | None:
    """The row that x, a broadcast along its first axis, repeats; None if x is no such."""
    made = b.definition(x)
    if made is None or made.primitive is not broadcast_in_dim:
        return None
    axes = made.params["broadcast_dimensions"]
    if 0 in axes:
        return None
    return b.broadcast(made.inputs[0], x.type.shape[1:], [axis - 1 for axis in axes])


def _transpose_mixed(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """Transpose a loop that also computes values that are not linear: run those forward first."""
    first, second, unknown_out = split_scan(eqn, linear)
    for known in first:
        b.append(known)
    rest = Graph(select(eqn.inputs, linear), second, select(eqn.outputs, unknown_out))  # type: ignore[arg-type]
    found = transpose_into(b, rest, [True] * len(rest.inputs), select(cts, unknown_out))
    return spread(found, linear, eqn.inputs)


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(scan)
def batch_scan(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """One loop over all examples; carries that are the same for all have no batch axis."""
    graph: Graph = eqn.params["graph"]
    sizes = _, n_carry = scan_sizes(eqn)
    consts, carry, xs = split_sizes(batched, sizes)

    def step(active: Flags) -> Flags:
        return batch_graph(graph, (*consts, *active, *xs), size)[1][:n_carry]

    carry = grow_until_stable(carry, step)
    force = (*carry, *(False for _ in graph.outputs[n_carry:]))
    body, out_batched = batch_graph(graph, (*consts, *carry, *xs), size, force)
    const_inputs, carry_inputs, xs_inputs = split_sizes(inputs, sizes)
    state = [
        materialise_batch(b, x, was, size) if now else x
        for x, was, now in zip(carry_inputs, batched[sizes[0] :], carry, strict=False)
    ]
    slices = [swap_leading(b, x) if is_b else x for x, is_b in zip(xs_inputs, xs, strict=True)]
    found = b.emit(scan, *const_inputs, *state, *slices, **{**eqn.params, "graph": body})
    outputs = [
        swap_leading(b, y) if i >= n_carry and is_batched else y
        for i, (y, is_batched) in enumerate(zip(found, out_batched, strict=True))
    ]
    return outputs, out_batched


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(scan)
def prune_scan(eqn: Equation, used: Flags) -> Equation:
    """Drop stacked outputs and carries that nobody reads, then consts and xs."""
    graph: Graph = eqn.params["graph"]
    sizes = n_consts, n_carry = scan_sizes(eqn)
    used_ys = used[n_carry:]

    def step(live: Flags) -> Flags:
        needed = dce_graph(graph, (*live, *used_ys))[1]
        return needed[n_consts : n_consts + n_carry]

    live = grow_until_stable(used[:n_carry], step)
    outputs = (*live, *used_ys)
    consts, _, xs = split_sizes(dce_graph(graph, outputs)[1], sizes)
    kept = (*consts, *live, *xs)
    return eqn.replace(
        inputs=tuple(select(eqn.inputs, kept)),
        outputs=tuple(select(eqn.outputs, outputs)),
        params={
            **eqn.params,
            "graph": region_of(graph, outputs, kept),
            "num_consts": sum(consts),
            "num_carry": sum(live),
        },
    )
