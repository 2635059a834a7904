"""How forward rules transform that are not needed where nobody reads their residuals.

Dead code elimination finds that out. A derivative is of the rule, a call as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder
from ...ir.graph import Equation, Value
from ...ir.ops.forward_call import forward_call
from .. import tables
from ..batch import batch_graph
from ..dce import region_of
from ..effects import guard, guarded, may_act
from ..regions import Flags, nonzero, select
from ..tables import Operands
from .call import as_call, jvp_call, prune_call, split_call, transpose_call
from .custom import unmoved


@tables.jvp.rule(forward_call)
def jvp_forward_call(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    return jvp_call(b, as_call(eqn), tangents) if any(nonzero(tangents)) else unmoved(b, eqn)


@tables.transpose.rule(forward_call)
def transpose_forward_call(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    return transpose_call(b, as_call(eqn), cts, linear)


@tables.split.rule(forward_call)
def split_forward_call(
    eqn: Equation, unknown: Sequence[bool]
) -> tuple[list[Equation], list[Equation], Sequence[bool]]:
    """As it is where all operands are unknown: what is computed again may do without residuals."""
    if all(unknown) and not eqn.effects:
        return [], [eqn], (True,) * len(eqn.outputs)
    return split_call(as_call(eqn), unknown)


@tables.batch.rule(forward_call)
def batch_forward_call(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """Both graphs batched, with a batch axis in the same outputs."""
    p, n = eqn.params, eqn.params["num_residuals"]
    _, by_rule = batch_graph(p["graph"], batched, size)
    _, by_function = batch_graph(p["function"], batched, size)
    has_axis = [r or f for r, f in zip(by_rule[n:], by_function, strict=True)]
    graph, out_batched = batch_graph(p["graph"], batched, size, (*by_rule[:n], *has_axis))
    function, _ = batch_graph(p["function"], batched, size, has_axis)
    changed = {**p, "graph": graph, "function": function}
    return b.emit(forward_call, *inputs, **changed), out_batched


@guard.rule(forward_call)
def guard_forward_call(b: Builder, eqn: Equation, here: Value) -> Equation:
    p = eqn.params
    if not (may_act(p["graph"]) or may_act(p["function"])):
        return eqn
    changed = {"graph": guarded(p["graph"]), "function": guarded(p["function"])}
    return eqn.replace(inputs=(here, *eqn.inputs), params={**p, **changed})


@tables.dce.rule(forward_call)
def prune_forward_call(eqn: Equation, used: Flags) -> Equation:
    """A call of the function if no residual is read; else the rule, whose inputs stay, since the
    function may need them when another pass has dropped the residuals."""
    p, n = eqn.params, eqn.params["num_residuals"]
    if not any(used[:n]):
        alone = as_call(eqn, "function").replace(outputs=eqn.outputs[n:])
        return prune_call(alone, used[n:])
    every = (True,) * len(eqn.inputs)
    changed: dict[str, Any] = {
        "graph": region_of(p["graph"], used, every),
        "function": region_of(p["function"], used[n:], every),
        "num_residuals": sum(used[:n]),
    }
    outputs = tuple(select(eqn.outputs, used))
    return eqn.replace(outputs=outputs, params={**p, **changed})
