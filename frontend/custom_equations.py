"""Functions with derivative rules of their own, in equations that JAX has traced."""

from __future__ import annotations

from typing import Any

from ..ir.builder import Builder
from ..ir.equality import graph_hash
from ..ir.graph import Graph
from ..ir.ops.call import custom_jvp_call, custom_vjp_call
from ..ir.types import TensorType
from .carried import arrays_carried, carrying, write_seconds
from .cells import Cell
from .custom_rules import jvp_thunk
from .flat_functions import is_hashable, rule_key
from .importer import Params, graph_of, records, records_with_cells
from .jax_compat_rules import (
    jvp_rule_from_params,
    rule_as_written,
    tracing_settings,
    vjp_rule_from_params,
)
from .lent import lent_to_rule, region_lent
from .library_functions import RECORDED, can_last, is_library_rule, without_places
from .ref_rules import kinds_of, no_refs_in_jvp, written_among
from .rule_traces import Called
from .vjp_rules import VjpRules


@records("custom_jvp_call")
def _record_custom_jvp(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    own, lent = _without_lent(params)
    types = [x.type for x in inputs[len(lent) :]]
    graph, symbolic = _function(params, lent), params["symbolic_zeros"]
    num_consts = len(lent) + params["num_consts"]
    found = None if num_consts else _recorded(own, graph, types)
    if found is None:
        _, jvp = jvp_rule_from_params(own)
        found = {"graph": graph, "jvp": jvp_thunk(jvp, Called(types, symbolic, lent))}
    return b.emit(custom_jvp_call, *inputs, **found, num_consts=num_consts, symbolic_zeros=symbolic)


def _recorded(params: Params, graph: Graph, types: list[TensorType]) -> dict[str, Any] | None:
    """A function of JAX's own and its rule, as the first program that had them in an equation
    recorded them; None for others. (`graph` is the function here.)"""
    rule = rule_as_written(params)
    if rule is None or not (is_library_rule(rule) and can_last((rule,))):
        return None
    if len(rule.transforms) > 1:  # mapped by JAX in between, or given what is no array
        return None
    symbolic = params["symbolic_zeros"]
    told = (*rule_key(rule), graph_hash(graph), *types, symbolic, tracing_settings())
    if not is_hashable(told):
        return None
    found: dict[str, Any] | None = RECORDED.get(told)
    if found is None:
        thunk = jvp_thunk(rule, Called(types, symbolic, lasts=True))
        found = RECORDED[told] = {"graph": without_places(graph), "jvp": thunk}
    return found


@records_with_cells("custom_vjp_call")
@records("custom_vjp_call")
def _record_custom_vjp(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    own, lent = _without_lent(params)
    _, fwd, bwd = vjp_rule_from_params(own)
    types = [x.type for x in inputs[len(lent) :]]
    kinds = kinds_of({i: x for i, x in enumerate(inputs) if isinstance(x, Cell)})
    seconds = arrays_carried(inputs)
    call = Called(types, params["symbolic_zeros"], lent, kinds=kinds, carried=tuple(seconds))
    rules = VjpRules(fwd, bwd, params["out_trees"], call, lent_to_rule(bwd, lent))
    graph = _function(params, lent)
    outputs = b.emit(
        custom_vjp_call,
        *[x.read() if isinstance(x, Cell) else x for x in (*inputs, *seconds.values())],
        graph=carrying(graph, [types[i] for i in seconds]),
        **rules.thunks(),
        num_consts=len(lent) + params["num_consts"],
        symbolic_zeros=params["symbolic_zeros"],
        carried=len(seconds),
    )
    found = write_seconds(b, seconds, outputs)
    for i, value in written_among(graph, kinds, found):
        inputs[i].write(b, b.stop_gradient(value))
    return tuple(found[: len(found) - len(kinds)])


def _without_lent(params: Params) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """JAX's parameters, and what the rules are lent (see lent): the first operands."""
    own = dict(params)
    return own, own.pop("lent", ())


def _function(params: Params, lent: tuple[Any, ...]) -> Graph:
    """The function that has the rules."""
    jaxpr = params["call_jaxpr"]
    return region_lent(jaxpr, lent) if lent else graph_of(jaxpr)


@records_with_cells("custom_jvp_call")
def _refuse_cells(_: Builder, _inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    raise no_refs_in_jvp(params["call_jaxpr"].jaxpr.debug_info.func_name)
