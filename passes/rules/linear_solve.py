"""How custom_linear_solve transforms.

inputs   consts of matvec | vecmat | solve | transpose_solve | b      outputs  x | aux

A x = b   =>   dA x + A dx = db   =>   dx = solve(db - dA x),   ct_b = transpose_solve(ct_x)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import PassError, ReverseModeError
from ...ir.graph import Equation, Graph, Value
from ...ir.ops.call import call
from ...ir.ops.control import SOLVE_GRAPHS, custom_linear_solve, split_sizes
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph
from ..effects import guard, guarded, may_act
from ..jvp import jvp_graph
from ..regions import either, grow_until_stable, nonzero, select, spread
from ..tables import Operands, materialise_batch

# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(custom_linear_solve)
def jvp_linear_solve(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """dx = solve(db - dA x); auxiliary outputs have no tangents."""
    b.append(eqn)
    lengths = eqn.params["const_lengths"]
    groups, dgroups = split_sizes(eqn.inputs, lengths), split_sizes(tangents, lengths)
    n = len(groups[-1])
    products = _tangent_products(b, eqn.params["matvec"], groups[0], dgroups[0], eqn.outputs[:n])
    rhs = [b.sub(db, product) for db, product in zip(dgroups[-1], products, strict=True)]
    if not any(nonzero(rhs)):
        return spread((), (False,) * len(eqn.outputs), eqn.outputs)
    consts = eqn.inputs[: sum(lengths)]
    found = b.emit(custom_linear_solve, *consts, *rhs, **eqn.params)
    return [*found[:n], *(Zero(v.type) for v in eqn.outputs[n:])]


def _tangent_products(
    b: Builder, matvec: Graph, consts: Sequence[Any], dconsts: Operands, x: Sequence[Any]
) -> list[Operand]:
    """dA x: the tangents of matvec for its consts' tangents at a fixed x."""
    active = (*nonzero(dconsts), *(False for _ in x))
    forward, out_active = jvp_graph(matvec, active)
    wanted = [i >= len(matvec.outputs) for i in range(len(forward.outputs))]
    tangent_only, used = dce_graph(forward, wanted)
    operands = (*consts, *x, *select(dconsts, nonzero(dconsts)))
    found = b.emit(call, *select(operands, used), graph=tangent_only) if any(out_active) else ()
    return spread(found, out_active, matvec.outputs)


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(custom_linear_solve)
def transpose_linear_solve(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """Solve the transposed system: the graphs change places."""
    params = eqn.params
    lengths = params["const_lengths"]
    consts = split_sizes(eqn.inputs[: sum(lengths)], lengths)
    n = len(eqn.inputs) - sum(lengths)
    if params["transpose_solve"] is None or params["vecmat"] is None:
        raise ReverseModeError(
            "transpose_solve required: custom_linear_solve has no reverse mode without it",
            eqn,
            stage="transpose",
            hint="pass transpose_solve=..., or symmetric=True for a symmetric matvec",
        )
    if any(linear[: sum(lengths)]) or any(nonzero(cts[n:])):
        raise PassError(
            "custom_linear_solve is linear only in its right-hand side and only up to its "
            "auxiliary outputs",
            eqn,
            stage="transpose",
        )
    swapped = {
        "matvec": params["vecmat"],
        "vecmat": params["matvec"],
        "solve": params["transpose_solve"],
        "transpose_solve": params["solve"],
        "const_lengths": (lengths[1], lengths[0], lengths[3], lengths[2]),
    }
    operands = (*consts[1], *consts[0], *consts[3], *consts[2])
    rhs = [b.instantiate(ct) for ct in cts[:n]]
    found = b.emit(custom_linear_solve, *operands, *rhs, **swapped)
    return [*(Zero(x.type) for x in eqn.inputs[: sum(lengths)]), *found[:n]]


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(custom_linear_solve)
def batch_linear_solve(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """One system of which every part is batched that is in x or b, in any of the four graphs."""
    params = eqn.params
    lengths = params["const_lengths"]
    *consts, rhs = split_sizes(tuple(batched), lengths)
    n = len(rhs)

    def step(active: tuple[bool, ...]) -> tuple[bool, ...]:
        found = active
        for name, flags in zip(SOLVE_GRAPHS, consts, strict=True):
            if params[name] is not None:
                found = either(found, batch_graph(params[name], (*flags, *active), size)[1][:n])
        return found

    active = grow_until_stable(rhs, step)
    n_aux = len(eqn.outputs) - n
    changed = dict(params)
    for name, flags in zip(SOLVE_GRAPHS, consts, strict=True):
        if params[name] is not None:
            n_more = len(params[name].outputs) - n
            force = (*active, *(True,) * n_more)
            changed[name] = batch_graph(params[name], (*flags, *active), size, force)[0]
    first = sum(lengths)
    columns = [
        materialise_batch(b, x, was, size) if now else x
        for x, was, now in zip(inputs[first:], rhs, active, strict=True)
    ]
    found = b.emit(custom_linear_solve, *inputs[:first], *columns, **changed)
    return found, (*active, *(True,) * n_aux)


# -- effects -------------------------------------------------------------------------------------


@guard.rule(custom_linear_solve)
def guard_linear_solve(b: Builder, eqn: Equation, here: Value) -> Equation:
    """Each graph that has effects closes over `here`."""
    params = dict(eqn.params)
    *consts, rhs = split_sizes(eqn.inputs, params["const_lengths"])
    for i, name in enumerate(SOLVE_GRAPHS):
        if params[name] is not None and may_act(params[name]):
            params[name] = guarded(params[name])
            consts[i] = (here, *consts[i])
    params["const_lengths"] = tuple(map(len, consts))
    inputs = tuple([x for group in (*consts, rhs) for x in group])
    return eqn.replace(inputs=inputs, params=params)
