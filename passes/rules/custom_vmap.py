"""How functions with a batching rule of their own transform.

The derivative of such a function has a rule, too: it batches as the derivative of what the rule
gives. The halves of a linearized one are ordinary calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Thunk, Value
from ...ir.ops.call import call
from ...ir.ops.custom_vmap import custom_vmap_call
from .. import tables
from ..batch import batch_graph
from ..effects import guard, guarded, may_act
from ..jvp import jvp_graph
from ..regions import Flags, either, nonzero, select, widened
from ..tables import Operands, materialise_batch
from .call import as_call, define_joint_call, split_call, transpose_call


@tables.jvp.rule(custom_vmap_call)
def jvp_custom_vmap(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    graph, rule, active = eqn.params["graph"], eqn.params["rule"], nonzero(tangents)
    forward, out_nonzero = jvp_graph(graph, active)

    def batch_forward(batched: Flags, size: int) -> tuple[Graph, Flags]:
        return _batched_jvp(graph, rule, active, batched, size)

    made = Thunk(f"{rule.name}_jvp", batch_forward)
    dxs = select(tangents, active)
    return define_joint_call(b, eqn, forward, dxs, out_nonzero, custom_vmap_call, rule=made)


def _batched_jvp(
    graph: Graph, rule: Any, active: Flags, batched: Flags, size: int
) -> tuple[Graph, Flags]:
    """The derivative of what the rule gives for operands of which value and tangent are batched.

    The rule is told of these only, as JAX's is: where just the value or just the tangent has a
    batch axis, a batch of derivatives is taken. If there are operands of both kinds, or the rule
    makes a batch of operands of which none is one, it is told of all.
    """
    forward, out_nonzero = jvp_graph(graph, active)
    primals, moving = batched[: len(active)], widened(batched[len(active) :], active)
    both = tuple(p and t for p, t in zip(primals, moving, strict=True))
    extra = (*_unless(primals, both), *select(_unless(moving, both), active))
    if any(both) and any(extra):
        return _of_all(forward, rule, active, out_nonzero, batched, size)
    inner, out_batched = rule(both, size)
    if any(out_batched) and not any(both):
        return _of_all(forward, rule, active, out_nonzero, batched, size)
    pushed, _ = jvp_graph(inner, active, out_nonzero)
    if not any(extra):
        return pushed, (*out_batched, *select(out_batched, out_nonzero))
    return batch_graph(pushed, extra, size)


def _unless(flags: Sequence[bool], excluded: Sequence[bool]) -> Flags:
    return tuple(f and not x for f, x in zip(flags, excluded, strict=True))


def _of_all(
    forward: Graph, rule: Any, active: Flags, out_nonzero: Flags, batched: Flags, size: int
) -> tuple[Graph, Flags]:
    """The derivative of what the rule gives for operands with a batched value or tangent.

    Where no value is, there is nothing to ask the rule: the derivative at one point is batched.
    """
    if not any(batched[: len(active)]):
        return batch_graph(forward, batched, size)
    flags = either(batched[: len(active)], widened(batched[len(active) :], active))
    inner, out_batched = rule(flags, size)
    pushed, _ = jvp_graph(inner, active, out_nonzero)
    wanted = (*flags, *select(flags, active))
    b, inputs, values = Builder(), [], []
    for given, value, is_batched, is_wanted in zip(
        forward.inputs, pushed.inputs, batched, wanted, strict=True
    ):
        x = Value(value.type if is_batched or not is_wanted else given.type, given.name)
        inputs.append(x)
        values.append(materialise_batch(b, x, is_batched, size) if is_wanted else x)
    outputs = b.inline(pushed, values)
    return (
        b.graph(inputs, outputs, f"{forward.name}.batch"),
        (*out_batched, *select(out_batched, out_nonzero)),
    )


@tables.batch.rule(custom_vmap_call)
def batch_custom_vmap(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """A call of what the rule gives for the batch."""
    graph, out_batched = eqn.params["rule"](tuple(batched), size)
    return b.emit(call, *inputs, graph=graph), out_batched


@guard.rule(custom_vmap_call)
def guard_custom_vmap(b: Builder, eqn: Equation, here: Value) -> Equation:
    """What the rule does for a batch, it does if one example at least is there."""
    graph, rule = eqn.params["graph"], eqn.params["rule"]
    if not may_act(graph):
        return eqn

    def make(batched: Flags, size: int) -> tuple[Graph, Flags]:
        if not any(batched[1:]):
            return batch_graph(guarded(graph), batched, size)
        made, out_batched = rule(batched[1:], size)
        return (_if_any(guarded(made), size) if batched[0] else guarded(made)), out_batched

    changed = {"graph": guarded(graph), "rule": Thunk(rule.name, make)}
    return eqn.replace(inputs=(here, *eqn.inputs), params={**eqn.params, **changed})


def _if_any(graph: Graph, size: int) -> Graph:
    """The guarded graph, told of each of a batch of examples whether it is there."""
    b = Builder()
    here = Value(graph.inputs[0].type.with_shape((size,)), "here")
    outputs = b.inline(graph, (b.reduce_or(here, axes=(0,)), *graph.inputs[1:]))
    return b.graph((here, *graph.inputs[1:]), outputs, graph.name)


@tables.transpose.rule(custom_vmap_call)
def transpose_custom_vmap(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    return transpose_call(b, as_call(eqn), cts, linear)


@tables.split.rule(custom_vmap_call)
def split_custom_vmap(
    eqn: Equation, unknown: Sequence[bool]
) -> tuple[list[Equation], list[Equation], Sequence[bool]]:
    return split_call(as_call(eqn), unknown)
