"""What an example may compute while it is elsewhere, without harm to derivatives.

A batch whose examples take different branches runs all of them for every example, and selects
among the results; a loop runs until the last example is done. In reverse mode an example hands a
cotangent of zero to a branch that it is not in. Multiplied by what is infinite or NaN there (the
derivative of sqrt at 0, data that the branch is not for), zero becomes NaN, which would spread to
what all examples share. So what an example has in a branch is

    x, where it enters               select(here, x, 0)
    y of an operation whose value    y' = f(select(here, x, stop_gradient(x)))
      or derivative may be infinite  y = select(here, y', 0)

All values are then finite for examples that are elsewhere, and nothing needs a copy for each
example because of it, weights that all share least of all. A branch that may loop for as long as
its values say keeps its values, and its operands are shielded where they enter.
"""

from __future__ import annotations

from typing import Final

from ..ir.builder import Builder, Operand
from ..ir.graph import Equation, Graph, Value, memoised, walk_graphs
from ..ir.ops.call import call, checkpoint, custom_jvp_call, custom_vjp_call
from ..ir.ops.control import cond, scan
from ..ir.ops.elementwise import select_n, stop_gradient
from ..ir.primitive import Primitive
from ..ir.types import BOOL, TensorType, is_inexact
from .effects import call_with, cond_with, is_guard, scan_with
from .regions import Flags, select

_LINEAR: Final = frozenset({"add", "add_any", "convert_element_type", "neg", "select_n", "sub"})
"""With shapes: what they make of a cotangent does not depend on values."""

_FINITE: Final = _LINEAR | {
    "abs", "atan", "bitcast_convert_type", "ceil", "clamp", "complex", "conj", "copy", "copy_p",
    "cos", "cummax", "cummin", "cumsum", "erf", "erfc", "floor", "imag", "logistic", "max", "min",
    "mul", "name", "nextafter", "one_minus_square", "real", "reduce_max", "reduce_min",
    "reduce_precision", "reduce_sum", "reduce_window_max", "reduce_window_min",
    "reduce_window_sum", "round", "sign", "sin", "square", "stop_gradient", "tanh",
}  # fmt: skip
_FINITE_FAMILIES: Final = frozenset({"shape", "indexing", "contraction", "sort", "placement"})
"""Values and partial derivatives are finite wherever the operands are."""

_REGIONS: Final = frozenset({call, checkpoint, cond, scan})
"""As finite as what is in their regions, and they end whatever their operands are."""

_KNOWN_TO_END: Final = _REGIONS | {custom_jvp_call, custom_vjp_call}


def shielded(graph: Graph, batched: Flags) -> Graph | None:
    """here: bool[] | inputs -> outputs, with shields; None if the graph needs none.

    batched: the inputs that each example has its own of.
    """
    if not memoised(graph, "varies", lambda: any(map(_varies, graph.equations))):
        return None
    key = ("shielded", batched)
    made: Graph = memoised(graph, key, lambda: _shielded(graph, batched))
    return made


def _shielded(graph: Graph, batched: Flags) -> Graph:
    b = Builder()
    here = Value(TensorType((), BOOL), "here")
    if not all(map(_ends, walk_graphs(graph))):
        inputs = [Value(v.type, v.name) for v in graph.inputs]
        entered = [_shield_operand(b, x, here) for x in inputs]
        return b.graph((here, *inputs), b.inline(graph, entered), graph.name)
    masked = [v for v in select(graph.inputs, batched) if is_inexact(v.type.dtype)]
    outside = {v: Value(v.type, v.name) for v in masked}
    for v, x in outside.items():
        _mask(b, x, here, v)
    _shield_equations(b, graph, here)
    return b.graph((here, *(outside.get(v, v) for v in graph.inputs)), graph.outputs, graph.name)


def _inside(graph: Graph) -> Graph:
    """here: bool[] | inputs -> outputs, of inputs that are finite."""

    def make() -> Graph:
        b = Builder()
        here = Value(TensorType((), BOOL), "here")
        _shield_equations(b, graph, here)
        return b.graph((here, *graph.inputs), graph.outputs, graph.name)

    made: Graph = memoised(graph, "shielded inside", make)
    return made


def _shield_equations(b: Builder, graph: Graph, here: Value) -> None:
    for eqn in graph.equations:
        b.location = eqn.location
        if not _may_be_infinite(eqn):
            b.append(eqn)
        elif eqn.primitive is call or eqn.primitive is checkpoint:
            b.append(call_with(eqn, here, _inside(eqn.params["graph"])))
        elif eqn.primitive is scan:
            b.append(scan_with(eqn, here, _inside(eqn.params["graph"])))
        elif eqn.primitive is cond and not is_guard(eqn):
            b.append(cond_with(eqn, here, tuple(map(_inside, eqn.params["branches"]))))
        else:
            _shield(b, eqn, here)


def _shield(b: Builder, eqn: Equation, here: Value) -> None:
    inputs = tuple([_shield_operand(b, x, here) for x in eqn.inputs])
    masks = {v: Value(v.type, v.name) for v in eqn.outputs if is_inexact(v.type.dtype)}
    b.append(eqn.replace(inputs=inputs, outputs=tuple([masks.get(v, v) for v in eqn.outputs])))
    for v, x in masks.items():
        _mask(b, x, here, v)


def _shield_operand(b: Builder, x: Operand, here: Value) -> Operand:
    """x, of which examples that are elsewhere have no derivative."""
    if not isinstance(x, Value) or not is_inexact(x.type.dtype):
        return x
    return b.select_n(here, *b.emit(stop_gradient, x), x)


def _mask(b: Builder, x: Value, here: Value, masked: Value) -> None:
    """masked = x, and zero for examples that are elsewhere."""
    b.append(Equation(select_n, (here, b.full(x.type, 0), x), (masked,), {}, b.location))


# -- what needs it ---------------------------------------------------------------------------------


def _varies(eqn: Equation) -> bool:
    """Whether what it makes of a cotangent depends on values."""
    if not any([is_inexact(v.type.dtype) for v in eqn.outputs]):
        return False
    return eqn.primitive.family != "shape" and eqn.primitive.name not in _LINEAR


def _may_be_infinite(eqn: Equation) -> bool:
    """Whether values or partial derivatives may be infinite or NaN where the operands are not."""
    primitive = eqn.primitive
    if not any([is_inexact(v.type.dtype) for v in eqn.outputs]):
        return False
    if primitive in _REGIONS:
        return any(map(_has_infinite, eqn.regions()))
    if primitive.has_regions:
        return True
    return primitive.family not in _FINITE_FAMILIES and primitive.name not in _FINITE


def _has_infinite(graph: Graph) -> bool:
    found: bool = memoised(graph, "infinite", lambda: any(map(_may_be_infinite, graph.equations)))
    return found


def _ends(graph: Graph) -> bool:
    """Whether no loop of the graph itself goes on for as long as values say."""
    return all(map(_is_known_to_end, {e.primitive for e in graph.equations}))


def _is_known_to_end(primitive: Primitive) -> bool:
    return not primitive.has_regions or primitive in _KNOWN_TO_END
