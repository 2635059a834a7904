"""How calls transform: the called graph is transformed once for each signature, and called.

A call with metadata stays one in all that becomes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder
from ...ir.graph import Atom, Equation, Graph, Value
from ...ir.ops.annotation import annotated, xla_metadata_call
from ...ir.ops.call import call, check_arguments, checkpoint, custom_jvp_call, custom_vjp_call
from ...ir.primitive import Primitive
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph
from ..effects import call_with, guard, guarded
from ..jvp import jvp_graph, tangent_name
from ..partial_eval import Split, split_graph
from ..regions import (
    Flags,
    arranged,
    define_joint,
    equation,
    nonzero,
    reject,
    select,
    spread,
    widened,
)
from ..tables import Operands
from ..transpose import transpose_graph

CALLS = (call, xla_metadata_call, annotated)


def as_call(eqn: Equation, graph: str = "graph") -> Equation:
    """An ordinary call of one of the graphs of an equation that holds more than that."""
    return eqn.replace(primitive=call, params=call.complete({"graph": eqn.params[graph]}))


def derived(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters for a call of what is derived from the callee: its linear half or transpose."""
    if params.get("ad_metadata", "same") == "same":
        return params
    return {**params, "xla_metadata": params["ad_metadata"], "ad_metadata": "same"}


@tables.jvp.rule(*CALLS)
def jvp_call(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """f(x) becomes f.jvp(x, dx), with the tangents that there are."""
    forward, out_nonzero = jvp_graph(eqn.params["graph"], nonzero(tangents))
    dxs = select(tangents, nonzero(tangents))
    rest = {key: value for key, value in eqn.params.items() if key != "graph"}
    return define_joint_call(b, eqn, forward, dxs, out_nonzero, eqn.primitive, **rest)


def define_joint_call(
    b: Builder,
    eqn: Equation,
    forward: Graph,
    dxs: Operands,
    out_nonzero: Sequence[bool],
    primitive: Primitive = call,
    **params: object,
) -> Operands:
    """Make the outputs of eqn by forward: inputs | dxs -> outputs | nonzero tangents."""
    if not any(out_nonzero):
        b.append(eqn)
        return spread((), out_nonzero, eqn.outputs)
    inputs, complete = (*eqn.inputs, *dxs), primitive.complete({"graph": forward, **params})
    made = forward.outputs[: len(eqn.outputs)]
    if primitive is not call or any(
        [v.type is not x.type for v, x in zip(eqn.outputs, made, strict=True)]
    ):
        return define_joint(b, eqn, inputs, complete, out_nonzero, primitive)
    check_arguments("call", forward, tuple([x.type for x in inputs]))
    dys = [
        Value(x.type, tangent_name(y.name))
        for x, y in zip(forward.outputs[len(made) :], select(eqn.outputs, out_nonzero), strict=True)
    ]
    origin = b.origin or eqn.origin
    b.append(Equation(call, inputs, (*eqn.outputs, *dys), complete, eqn.location, origin))
    return spread(dys, out_nonzero, eqn.outputs)


@tables.transpose.rule(*CALLS, custom_jvp_call, custom_vjp_call)
def transpose_call(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """ct_x = f.transpose(residuals, ct_y)."""
    weak = [ct.type.weak for ct in cts]
    backward, in_nonzero = transpose_graph(eqn.params["graph"], linear, nonzero(cts), weak=weak)
    given = select(cts, nonzero(cts))
    params: dict[str, Any] = {"graph": backward}
    primitive = call
    if eqn.primitive in CALLS:
        primitive, params = eqn.primitive, {**derived(eqn.params), "graph": backward}
    found = b.emit(primitive, *reject(eqn.inputs, linear), *given, **params)
    return spread(found, widened(in_nonzero, linear), eqn.inputs)


@tables.batch.rule(*CALLS)
def batch_call(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    graph, out_batched = batch_graph(eqn.params["graph"], batched, size)
    return b.emit(eqn.primitive, *inputs, **{**eqn.params, "graph": graph}), out_batched


# -- partial evaluation --------------------------------------------------------------------------


@tables.split.rule(*CALLS)
def split_call(
    eqn: Equation, unknown: Sequence[bool]
) -> tuple[list[Equation], list[Equation], Sequence[bool]]:
    """Two calls: the second takes what the first computed for it, as residuals."""
    split = split_graph(eqn.params["graph"], unknown)
    known_inputs = reject(split_inputs(eqn), unknown)
    known_outputs = reject(eqn.outputs, split.unknown_out)
    sources = forwarded(split, known_inputs, reject(eqn.inputs, unknown), known_outputs)
    computed = [r for r in split.residuals if r not in sources]
    outputs = (*split.known.outputs[: len(known_outputs)], *computed)
    residuals = [Value(r.type, r.name) for r in computed]
    sources.update(zip(computed, residuals, strict=True))
    first: list[Equation] = []
    if outputs or split.known.effects:
        graph = arranged(split.known, split.known.inputs, outputs)
        made = (*known_outputs, *residuals)
        params = {**eqn.params, "graph": graph}
        first = [equation(eqn.primitive, reject(eqn.inputs, unknown), made, params, eqn)]
    inputs = (*(sources[r] for r in split.residuals), *select(eqn.inputs, unknown))
    made = tuple(select(eqn.outputs, split.unknown_out))
    params = {**derived(eqn.params), "graph": split.unknown}
    second = [equation(eqn.primitive, inputs, made, params, eqn)] if made else []
    return first, second, split.unknown_out


def split_inputs(eqn: Equation) -> tuple[Value, ...]:
    graph: Graph = eqn.params["graph"]
    return graph.inputs


def forwarded(
    split: Split,
    known_inputs: Sequence[Value],
    operands: Sequence[Atom],
    known_outputs: Sequence[Value],
) -> dict[Value, Atom]:
    """Values of the region that are at hand outside: its known inputs and known outputs."""
    sources: dict[Value, Atom] = dict(zip(known_inputs, operands, strict=True))
    for inner, outer in zip(split.known.outputs, known_outputs, strict=False):
        if isinstance(inner, Value):
            sources.setdefault(inner, outer)
    return sources


# -- effects -------------------------------------------------------------------------------------


@guard.rule(*CALLS, checkpoint)
def guard_call(b: Builder, eqn: Equation, here: Value) -> Equation:
    return call_with(eqn, here, guarded(eqn.params["graph"]))


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(*CALLS)
def prune_call(eqn: Equation, used: Flags) -> Equation:
    """A call of the graph without the outputs that nobody reads and what only they need."""
    graph, used_inputs = dce_graph(eqn.params["graph"], used)
    return eqn.replace(
        inputs=tuple(select(eqn.inputs, used_inputs)),
        outputs=tuple(select(eqn.outputs, used)),
        params={**eqn.params, "graph": graph},
    )
