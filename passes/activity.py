"""Which outputs of a graph get tangents, and which inputs cotangents, without making them.

Rules of loops ask it to find the carries that are active in some iteration, before the body is
transformed for those. An equation's own rules answer, once for each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..ir.builder import Builder, Operand, Zero
from ..ir.graph import Equation, Graph, Value, memoised
from .jvp import jvp_graph, push_through
from .kinds import OncePerKind, kind_of
from .tables import transpose
from .transpose import transpose_graph

Flags = tuple[bool, ...]


def pushed_outputs(graph: Graph, active: Flags) -> Flags:
    """The outputs that have tangents where the active inputs have: as `jvp_graph` says."""
    if _must_run_once(graph):
        return jvp_graph(graph, active)[1]
    key = ("pushed outputs", active)
    found: Flags = memoised(graph, key, lambda: _pushed_outputs(graph, active))
    return found


def pulled_inputs(graph: Graph, linear: Flags, nonzero: Flags) -> Flags:
    """The linear inputs that have cotangents where the outputs have: as `transpose_graph` says."""
    if _must_run_once(graph):
        return transpose_graph(graph, linear, nonzero)[1]
    key = ("pulled inputs", linear, nonzero)
    found: Flags = memoised(graph, key, lambda: _pulled_inputs(graph, linear, nonzero))
    return found


def _must_run_once(graph: Graph) -> bool:
    """Whether there are rules that must not be asked more often than needed: a user's."""
    return any([eqn.is_unique for eqn in graph.equations])


# -- forward -------------------------------------------------------------------------------------

_PUSHED: Final[OncePerKind[Flags]] = OncePerKind()


def _pushed_outputs(graph: Graph, active: Flags) -> Flags:
    moving: set[Any] = {
        v for v, flag in zip(graph.inputs, active, strict=True) if flag and v.type.has_tangent
    }
    for eqn in graph.equations:
        if not moving.isdisjoint(eqn.inputs):
            found = _pushed(eqn, [x in moving for x in eqn.inputs])
            moving.update([y for y, flag in zip(eqn.outputs, found, strict=True) if flag])
    return tuple([v in moving for v in graph.outputs])


def _pushed(eqn: Equation, flags: Sequence[bool]) -> Flags:
    """Which outputs of an equation have tangents where these operands have."""
    kind = kind_of(eqn, flags)
    found = _PUSHED.get(kind)
    if found is None:
        dxs = _some(eqn.inputs, flags)
        dys = push_through(Builder(), eqn, dxs)
        pairs = zip(eqn.outputs, dys, strict=True)
        found = tuple([dy.__class__ is not Zero and y.type.has_tangent for y, dy in pairs])
        if kind is not None:
            _PUSHED.keep(kind, found)
    return found


def _some(atoms: Sequence[Any], flags: Sequence[bool]) -> list[Operand]:
    """Any value where the flag is set, and no value elsewhere."""
    pairs = zip(atoms, flags, strict=True)
    return [Value(x.type) if flag else Zero(x.type) for x, flag in pairs]


# -- backward ------------------------------------------------------------------------------------

_PULLED: Final[OncePerKind[Flags]] = OncePerKind()


def _pulled_inputs(graph: Graph, linear: Flags, nonzero: Flags) -> Flags:
    inputs = [v for v, flag in zip(graph.inputs, linear, strict=True) if flag]
    depending: set[Any] = set(inputs)
    equations = []
    for eqn in graph.equations:
        if not depending.isdisjoint(eqn.inputs):
            equations.append(eqn)
            depending.update(eqn.outputs)
    reached: set[Any] = {y for y, flag in zip(graph.outputs, nonzero, strict=True) if flag}
    for eqn in reversed(equations):
        if not reached.isdisjoint(eqn.outputs):
            is_linear = [x in depending for x in eqn.inputs]
            found = _pulled(eqn, is_linear, [y in reached for y in eqn.outputs])
            reached.update([x for x, flag in zip(eqn.inputs, found, strict=True) if flag])
    return tuple([v in reached for v in inputs])


def _pulled(eqn: Equation, is_linear: Sequence[bool], given: Sequence[bool]) -> Flags:
    """Which linear operands of an equation have cotangents where these outputs have."""
    kind = kind_of(eqn, (*is_linear, *given))
    found = _PULLED.get(kind)
    if found is None:
        cts = transpose.find(eqn)(Builder(), eqn, _some(eqn.outputs, given), is_linear)
        pairs = zip(cts, is_linear, strict=True)
        found = tuple([ct.__class__ is not Zero and flag for ct, flag in pairs])
        if kind is not None:
            _PULLED.keep(kind, found)
    return found
