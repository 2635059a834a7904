"""Equations that hold graphs: what the rules of region primitives share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..ir.builder import Builder, Operand, Zero
from ..ir.graph import Atom, Equation, Graph, Params, Value, memoised, remembered
from ..ir.ops.control import split_sizes
from ..ir.ops.elementwise import convert_element_type
from ..ir.primitive import Primitive
from ..ir.types import TensorType
from .jvp import tangent_name

Flags = tuple[bool, ...]
Made = TypeVar("Made")


def with_regions(eqn: Equation, change: Callable[[Graph], Graph]) -> Equation:
    """The equation with each of its graphs changed; the same one if none is."""
    params = {key: _changed(value, change) for key, value in eqn.params.items()}
    if all(params[key] is value for key, value in eqn.params.items()):
        return eqn
    return eqn.replace(params=params)


def with_regions_changed(graph: Graph, key: Any) -> list[Equation]:
    """A graph's equations, with the graphs that they hold as `transformed` made them under key."""
    return [
        with_regions(eqn, lambda region: remembered(region, key))
        if eqn.primitive.has_regions
        else eqn
        for eqn in graph.equations
    ]


def _changed(value: Any, change: Callable[[Graph], Graph]) -> Any:
    if isinstance(value, Graph):
        return change(value)
    if isinstance(value, tuple) and any(isinstance(item, Graph) for item in value):
        items = tuple(_changed(item, change) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value


# -- flags ---------------------------------------------------------------------------------------


def nonzero(operands: Iterable[Operand]) -> Flags:
    """Which of these tangents or cotangents are not symbolic zeros."""
    return tuple(x.__class__ is not Zero for x in operands)


def either(a: Iterable[bool], b: Iterable[bool]) -> Flags:
    return tuple(x or y for x, y in zip(a, b, strict=True))


def select(items: Iterable[Made], flags: Iterable[bool]) -> list[Made]:
    """The items that are flagged, in order."""
    return [x for x, flag in zip(items, flags, strict=True) if flag]


def reject(items: Iterable[Made], flags: Iterable[bool]) -> list[Made]:
    """The items that are not flagged, in order."""
    return [x for x, flag in zip(items, flags, strict=True) if not flag]


def widened(marks: Iterable[bool], flags: Iterable[bool]) -> Flags:
    """Marks over all positions, from marks over the flagged ones."""
    rest = iter(marks)
    return tuple([flag and next(rest) for flag in flags])


def grow_until_stable(
    flags: Sequence[bool],
    step: Callable[[Flags], Iterable[bool]],
    most: Sequence[bool] | None = None,
) -> Flags:
    """The least flags above the given ones that `step`, a monotone function, leaves as they are.

    A carry is active when it starts so or becomes so in some iteration: with `step` telling which
    carries one iteration makes active, this finds those that are active at the end of any number.
    No flags are set but those in `most`: where all of these are, there is nothing to ask.
    """
    stable = tuple(flags)
    while most is None or stable != tuple(most):
        grown = either(stable, step(stable))
        if grown == stable:
            break
        stable = grown
    return stable


def moving(carry: Sequence[Value], outputs: Sequence[Atom]) -> Flags:
    """Which of the carries that a loop's body takes it does not return as they are."""
    return tuple([v is not out for v, out in zip(carry, outputs, strict=True)])


def with_fixed(
    items: Sequence[Made], sizes: tuple[int, int], moves: Sequence[bool]
) -> tuple[Made, ...]:
    """consts | carry | others, with the carries that do not move among the consts."""
    consts, carry, others = split_sizes(items, sizes)
    return (*consts, *reject(carry, moves), *select(carry, moves), *others)


def merge_groups(
    a: Sequence[Made], a_sizes: Sequence[int], b: Sequence[Made], b_sizes: Sequence[int]
) -> tuple[Made, ...]:
    """Two sequences of groups as one: a0 b0 a1 b1 ... (consts dconsts carry dcarry xs dxs)."""
    pairs = zip(split_sizes(a, a_sizes), split_sizes(b, b_sizes), strict=True)
    return tuple([x for pair in pairs for group in pair for x in group])


# -- graphs and equations --------------------------------------------------------------------------


def arranged(graph: Graph, inputs: Sequence[Value], outputs: Sequence[Atom]) -> Graph:
    """The same equations with inputs and outputs in another order, or fewer of them."""
    if tuple(inputs) == graph.inputs and tuple(outputs) == graph.outputs:
        return graph
    key = ("arranged", tuple(inputs), tuple(outputs))
    made: Graph = memoised(graph, key, lambda: Graph(inputs, graph.equations, outputs, graph.name))
    return made


def with_more_inputs(graph: Graph, more: Sequence[TensorType]) -> Graph:
    """The graph with inputs of these types that it does not read."""

    def make() -> Graph:
        unread = [Value(t) for t in more]
        return Graph((*graph.inputs, *unread), graph.equations, graph.outputs, graph.name)

    made: Graph = memoised(graph, ("more inputs", tuple(more)), make)
    return made


def equation(
    primitive: Primitive,
    inputs: Sequence[Atom],
    outputs: Sequence[Value | None],
    params: Params,
    like: Equation,
) -> Equation:
    """An equation at the place of another; None among the outputs stands for a new value."""
    complete = primitive.complete(params)
    types = primitive.infer(tuple([x.type for x in inputs]), complete)
    listed = (types,) if isinstance(types, TensorType) else types
    made = [v if v is not None else Value(t) for v, t in zip(outputs, listed, strict=True)]
    return Equation(primitive, tuple(inputs), tuple(made), complete, like.location, like.origin)


def spread(found: Iterable[Operand], flags: Sequence[bool], types: Iterable[Any]) -> list[Operand]:
    """The found (co)tangents at the flagged positions, and Zeros of the others' types."""
    rest = iter(found)
    return [next(rest) if flag else Zero(x.type) for flag, x in zip(flags, types, strict=True)]


def append_typed(b: Builder, eqn: Equation) -> None:
    """Append an equation that makes given values, converted where it makes them weakly typed
    otherwise than they are (a custom rule may return a strong type where its function does not)."""
    types = eqn.primitive.infer(tuple([x.type for x in eqn.inputs]), eqn.params)
    listed = (types,) if isinstance(types, TensorType) else types
    made = [
        v if v.type is t else Value(t, v.name) for v, t in zip(eqn.outputs, listed, strict=True)
    ]
    b.append(eqn.replace(outputs=tuple(made), origin=b.origin or eqn.origin))
    for v, x in zip(eqn.outputs, made, strict=True):
        if v is not x:
            params = {"new_dtype": v.type.dtype, "weak_type": v.type.weak}
            b.append(Equation(convert_element_type, (x,), (v,), params, eqn.location, b.origin))


def typed(eqn: Equation) -> list[Equation]:
    """The equation, with conversions where it makes its outputs weakly typed otherwise."""
    b = Builder()
    append_typed(b, eqn)
    return b.equations


def define_joint(
    b: Builder,
    eqn: Equation,
    inputs: Sequence[Atom],
    params: Params,
    out_active: Sequence[bool],
    primitive: Primitive | None = None,
    sizes: Sequence[int] = (),
) -> list[Operand]:
    """Make the outputs of eqn and their tangents by one equation; the tangents, Zero where none.

    The equation's outputs are those of eqn, then the tangents of the active ones, merged group by
    group where `sizes` says how the outputs are grouped.
    """
    n_tangents: list[None] = [None] * sum(out_active)
    d_sizes = [sum(group) for group in split_sizes(out_active, sizes)[:-1]]
    outputs = merge_groups(eqn.outputs, sizes, n_tangents, d_sizes)
    joint = equation(primitive or eqn.primitive, inputs, outputs, params, eqn)
    old = set(eqn.outputs)
    append_typed(b, joint)
    dys = [v for v in joint.outputs if v not in old]
    for y, dy in zip(select(eqn.outputs, out_active), dys, strict=True):
        dy.name = tangent_name(y.name)
    return spread(dys, out_active, eqn.outputs)


def instantiated(b: Builder, operands: Iterable[Operand], flags: Iterable[bool]) -> list[Atom]:
    """The flagged operands as atoms: symbolic zeros among them become arrays."""
    return [b.instantiate(x) for x in select(operands, flags)]
