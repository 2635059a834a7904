"""How checkpoint transforms: the unknown half computes again what it needs of the known half.

    known     known inputs                         -> known outputs, saved values
    unknown   saved values | known inputs | unknown inputs -> unknown outputs

Nothing else crosses over. A policy says which values are saved. The unknown half and its transpose
are marked `differentiated`: they are lowered behind an optimization barrier (`prevent_cse`), so
that the compiler neither merges the second computation with the first nor starts it before the
backward pass gets there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.call import checkpoint
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..inline import inline_graph
from ..jvp import jvp_graph
from ..partial_eval import split_graph
from ..regions import Flags, arranged, equation, nonzero, reject, select, spread, typed, widened
from ..tables import Operands
from ..transpose import transpose_graph
from .call import define_joint_call
from .policies import Policy, find_policy
from .recompute import plan_recomputation
from .scan_split import Halves


@tables.jvp.rule(checkpoint)
def jvp_checkpoint(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    flags = nonzero(tangents)
    forward, out_nonzero = jvp_graph(eqn.params["graph"], flags)
    dxs = select(tangents, flags)
    barriers = _barriers(eqn, [*range(len(flags)), *(None for _ in dxs)])
    params = {**eqn.params, "prevent_cse": barriers}
    del params["graph"]
    return define_joint_call(b, eqn, forward, dxs, out_nonzero, checkpoint, **params)


@tables.batch.rule(checkpoint)
def batch_checkpoint(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    graph, out_batched = batch_graph(eqn.params["graph"], batched, size)
    return b.emit(checkpoint, *inputs, **{**eqn.params, "graph": graph}), out_batched


@tables.dce.rule(checkpoint)
def prune_checkpoint(eqn: Equation, used: Flags) -> Equation:
    graph, used_inputs = dce_graph(eqn.params["graph"], used)
    barriers = _barriers(eqn, select(range(len(eqn.inputs)), used_inputs))
    return eqn.replace(
        inputs=tuple(select(eqn.inputs, used_inputs)),
        outputs=tuple(select(eqn.outputs, used)),
        params={**eqn.params, "graph": graph, "prevent_cse": barriers},
    )


def _barriers(eqn: Equation, positions: Sequence[int | None]) -> bool | Flags:
    """`prevent_cse` for inputs that stood at these positions, or are new (None)."""
    flags = eqn.params["prevent_cse"]
    if isinstance(flags, bool):
        return flags
    return tuple([i is None or flags[i] for i in positions])


# -- partial evaluation --------------------------------------------------------------------------


@tables.split.rule(checkpoint)
def split_checkpoint(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    graph: Graph = eqn.params["graph"]
    policy = find_policy(eqn)
    key = ("split checkpoint", tuple(unknown), policy)
    known, again, unknown_out = memoised(graph, key, lambda: _split(graph, unknown, policy))
    outputs = reject(eqn.outputs, unknown_out)
    saved = [Value(v.type, v.name) for v in known.outputs[len(outputs) :]]
    operands = reject(eqn.inputs, unknown)
    first: list[Equation] = []
    if outputs or saved or known.effects:
        positions = reject(range(len(eqn.inputs)), unknown)
        params = {**eqn.params, "graph": known, "prevent_cse": _barriers(eqn, positions)}
        first = typed(equation(checkpoint, operands, (*outputs, *saved), params, eqn))
    made = select(eqn.outputs, unknown_out)
    if not made:
        return first, [], unknown_out
    inputs = (*saved, *operands, *select(eqn.inputs, unknown))
    places = range(len(eqn.inputs))
    barriers = _barriers(
        eqn, [*(None for _ in saved), *reject(places, unknown), *select(places, unknown)]
    )
    params = {**eqn.params, "graph": again, "differentiated": True, "prevent_cse": barriers}
    second = equation(checkpoint, inputs, made, params, eqn)
    return first, typed(prune_checkpoint(second, (True,) * len(made))), unknown_out


def _split(graph: Graph, unknown: Sequence[bool], policy: Policy) -> tuple[Graph, Graph, Flags]:
    """The known half, the half that computes again, and which outputs are unknown."""
    split = split_graph(inline_graph(graph), unknown)
    plan = plan_recomputation(split.known.equations, policy, set(split.unknown.equations))
    again = set(plan.again)
    equations = (*plan.again, *(e for e in split.unknown.equations if e not in again))
    waiting = split.unknown.inputs[len(split.residuals) :]
    inputs = (*plan.saved, *split.known.inputs, *waiting)
    pruned, used = dce_graph(Graph(inputs, equations, split.unknown.outputs, graph.name))
    saved = [v for v, is_used in zip(plan.saved, used, strict=False) if is_used]
    kept = [i >= len(plan.saved) or is_used for i, is_used in enumerate(used)]
    second = arranged(pruned, select(inputs, kept), pruned.outputs)
    n_known = len(split.unknown_out) - sum(split.unknown_out)
    outputs = (*split.known.outputs[:n_known], *saved)
    first = Graph(split.known.inputs, plan.known, outputs, graph.name)
    everything = (True,) * len(first.outputs), (True,) * len(first.inputs)
    return region_of(first, *everything), second, split.unknown_out


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(checkpoint)
def transpose_checkpoint(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    backward, in_active = transpose_graph(eqn.params["graph"], linear, nonzero(cts))
    given = select(cts, nonzero(cts))
    positions = [*reject(range(len(linear)), linear), *(None for _ in given)]
    params = {**eqn.params, "graph": backward, "prevent_cse": _barriers(eqn, positions)}
    found = b.emit(checkpoint, *reject(eqn.inputs, linear), *given, **params)
    return spread(found, widened(in_active, linear), eqn.inputs)
