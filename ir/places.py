"""Which values of a program are in the host's memory.

A move (`device_put`) takes a value there; calls, loops and branches hand it on, a loop stacks it,
and it can be cut, reshaped and moved back. Nothing computes on it: XLA has no such operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .errors import PassError
from .fusion import is_view
from .graph import Atom, Equation, Graph, Value, memoised, walk_graphs
from .ops.annotation import annotated, xla_metadata_call
from .ops.call import call, checkpoint, custom_jvp_call, custom_vjp_call
from .ops.control import cond, scan, while_
from .ops.indexing import dynamic_slice, dynamic_update_slice, slice_
from .ops.placement import DEVICE, device_put
from .ops.shape import optimization_barrier

Flags = tuple[bool, ...]

_CALLS: Final = frozenset(
    {call, checkpoint, custom_jvp_call, custom_vjp_call, annotated, xla_metadata_call}
)
_CUTS: Final = frozenset({dynamic_slice, dynamic_update_slice, slice_})


@dataclass(frozen=True)
class Places:
    """Of a graph: its values in the host's memory, and whether each output is."""

    on_host: frozenset[Value]
    outputs: Flags


def places_of(graph: Graph, inputs: Flags | None = None) -> Places:
    """Where the values of a graph are, given which inputs are on the host (none).

    Raises PassError for an operation on a value that is there.
    """
    flags = inputs or (False,) * len(graph.inputs)
    if not any(flags) and not moves(graph):
        return Places(frozenset(), (False,) * len(graph.outputs))
    found: Places = memoised(graph, ("places", flags), lambda: _find(graph, flags))
    return found


def moves(graph: Graph) -> bool:
    """Whether a graph, or one that it calls, moves values between memories."""
    for g in walk_graphs(graph):  # callees first: no recursion
        memoised(g, "moves", lambda g=g: _moves(g))  # type: ignore[misc]
    return bool(graph.derived["moves"])


def _moves(graph: Graph) -> bool:
    return any(
        eqn.primitive is device_put
        or (eqn.primitive.has_regions and any(g.derived["moves"] for g in eqn.regions()))
        for eqn in graph.equations
    )


def _find(graph: Graph, flags: Flags) -> Places:
    on_host = {v for v, is_there in zip(graph.inputs, flags, strict=True) if is_there}
    for eqn in graph.equations:
        given = tuple([x in on_host for x in eqn.inputs])
        if any(given) or eqn.primitive is device_put or eqn.primitive.has_regions:
            on_host.update(_chosen(eqn.outputs, _outputs(eqn, given)))
    return Places(frozenset(on_host), tuple([x in on_host for x in graph.outputs]))


def _chosen(values: Sequence[Value], flags: Iterable[bool]) -> list[Value]:
    return [v for v, is_there in zip(values, flags, strict=True) if is_there]


def _outputs(eqn: Equation, given: Flags) -> Flags:
    primitive = eqn.primitive
    if primitive is device_put:
        return (eqn.params["target"] != DEVICE,)
    if primitive in _CALLS:
        return places_of(eqn.params["graph"], given).outputs
    if primitive is scan:
        return _scan(eqn, given)
    if primitive is while_:
        return _while(eqn, given)
    if primitive is cond:
        return _cond(eqn, given)
    if not any(given):
        return (False,) * len(eqn.outputs)
    if primitive is optimization_barrier:
        return given
    if is_view(eqn) or primitive in _CUTS:
        return (given[0],)
    raise _refusal(eqn, eqn.inputs[given.index(True)])


def _scan(eqn: Equation, given: Flags) -> Flags:
    graph: Graph = eqn.params["graph"]
    first = eqn.params["num_consts"]
    last = first + eqn.params["num_carry"]
    carried = given[first:last]
    while True:
        found = places_of(graph, (*given[:first], *carried, *given[last:])).outputs
        after = found[: last - first]
        if after == carried:
            return found
        if any(a and not b for a, b in zip(carried, after, strict=True)):
            raise _refusal(eqn, eqn.inputs[first + carried.index(True)])
        carried = after


def _while(eqn: Equation, given: Flags) -> Flags:
    p = eqn.params
    n_cond, n_body = p["cond_nconsts"], p["body_nconsts"]
    carried = given[n_cond + n_body :]
    places_of(p["cond_graph"], (*given[:n_cond], *carried))
    found = places_of(p["body_graph"], (*given[n_cond : n_cond + n_body], *carried)).outputs
    if found != carried:
        moved = [a != b for a, b in zip(found, carried, strict=True)]
        raise _refusal(eqn, eqn.outputs[moved.index(True)])
    return found


def _cond(eqn: Equation, given: Flags) -> Flags:
    found = {places_of(branch, given[1:]).outputs for branch in eqn.params["branches"]}
    if given[0] or len(found) > 1:
        raise _refusal(eqn, eqn.inputs[0] if given[0] else eqn.outputs[0])
    return found.pop()


def _refusal(eqn: Equation, x: Atom) -> PassError:
    shown = getattr(x, "name", None) or "a value"
    return PassError(
        f"{eqn.primitive.name} meets {shown} in the host's memory, where nothing is computed",
        eqn,
        hint="move it to the device first: jax.device_put(x, jax.memory.Space.Device)",
    )
