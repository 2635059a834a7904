"""The rule tables of the transformations, and the rules that traits give.

    jvp        (b, eqn, tangents)          -> tangents of the outputs
    transpose  (b, eqn, cts, linear)       -> cotangents of the inputs
    batch      (b, eqn, inputs, batched, size) -> outputs, batched
    split      (eqn, unknown)              -> known equations, unknown equations, unknown outputs
    dce        (eqn, used)                 -> equation

Tangents and cotangents are Atoms or Zeros, one for each input or output of the equation. A jvp
rule reads primals from `eqn.inputs` and `eqn.outputs`. `linear[i]` says whether input i depends on
the linear inputs; the cotangents of others are ignored. What jvp and transpose rules write depends
on an equation's kind alone (see `kinds`), but for primitives with regions and `restates_primal`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..ir.builder import Builder, Operand, Zero
from ..ir.graph import Equation
from ..ir.primitive import Primitive, RuleTable
from ..ir.types import TensorType
from .families import load_region_rules, load_rules

Operands = Sequence[Operand]
JvpRule = Callable[[Builder, Equation, Operands], Operands]
TransposeRule = Callable[[Builder, Equation, Operands, Sequence[bool]], Operands]
BatchRule = Callable[
    [Builder, Equation, Operands, Sequence[bool], int], tuple[Operands, Sequence[bool]]
]
SplitRule = Callable[
    [Equation, Sequence[bool]], tuple[list[Equation], list[Equation], Sequence[bool]]
]
DceRule = Callable[[Equation, tuple[bool, ...]], Equation]


def tangent_type(type: TensorType) -> TensorType:
    """The type of tangents and cotangents: that of the primal."""
    return type


# -- jvp -----------------------------------------------------------------------------------------


def zero_tangents(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """The jvp of what is not differentiable: no output carries a tangent."""
    return [Zero(v.type) for v in eqn.outputs]


def jvp_jointly_linear(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """f(dx, dy) for an f linear in all of its linear inputs together."""
    linear = eqn.primitive.linear_in
    if len(linear) == len(eqn.inputs):
        return b.again(eqn, *tangents)
    return b.again(eqn, *[tangents[i] if i in linear else x for i, x in enumerate(eqn.inputs)])


def jvp_multilinear(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """f(dx, y) + f(x, dy) for an f linear in each of its inputs."""
    (z,) = eqn.outputs
    terms: list[Operand] = []
    for i in eqn.primitive.linear_in:
        if tangents[i].__class__ is not Zero:
            terms += b.again(eqn, *eqn.inputs[:i], tangents[i], *eqn.inputs[i + 1 :])
    return [b.sum_of(terms, z.type)]


def _jvp_from_traits(primitive: Primitive) -> JvpRule | None:
    if primitive.not_differentiable is not None:
        return zero_tangents
    if primitive.jointly_linear:
        return jvp_jointly_linear
    # With one non-linear input more, a table entry gives that input's part (div).
    return jvp_multilinear if len(primitive.linear_in) > 1 else None


jvp: RuleTable[JvpRule] = RuleTable("jvp", _jvp_from_traits, load=load_rules)

restates_primal: set[Primitive] = set()
"""Primitives without regions whose jvp rules make the primal outputs too: by `b.append(eqn)`, or
by `b.define(eqn.outputs, ...)` where the tangent must agree with how the primal was computed. Only
these may look at what makes the operands."""

reads_uniforms: set[Primitive] = set()
"""Primitives whose jvp rules ask whether an operand is an array of one literal."""


# -- transpose -----------------------------------------------------------------------------------


def unbroadcast(b: Builder, ct: Operand, type: TensorType) -> Operand:
    """Sum a cotangent over the axes along which an operand of this type was broadcast."""
    if ct.__class__ is Zero:
        return Zero(type)
    shape = ct.type.shape
    if shape == type.shape:
        return ct
    if not type.shape:
        return b.reduce_sum(ct, axes=tuple(range(len(shape))))
    axes = tuple(i for i, n in enumerate(type.shape) if n != shape[i])
    return b.reshape(b.reduce_sum(ct, axes=axes), new_sizes=type.shape)


def transpose_elementwise_multilinear(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """An elementwise function linear in input i is its own transpose there: ct_x = f(ct, y)."""
    result: list[Operand] = [Zero(x.type) for x in eqn.inputs]
    for i in eqn.primitive.linear_in:
        if linear[i]:
            (ct,) = b.again(eqn, *eqn.inputs[:i], cts[0], *eqn.inputs[i + 1 :])
            result[i] = unbroadcast(b, ct, eqn.inputs[i].type)
    return result


def _transpose_from_traits(primitive: Primitive) -> TransposeRule | None:
    if primitive.elementwise and primitive.linear_in and not primitive.jointly_linear:
        return transpose_elementwise_multilinear
    return None


NOT_LINEAR: Final = (
    "only linear programs transpose: linearize first; a custom derivative rule must be linear "
    "in its tangents"
)
transpose: RuleTable[TransposeRule] = RuleTable(
    "transpose", _transpose_from_traits, advice=NOT_LINEAR, load=load_rules
)


def unary_transpose(primitive: Primitive) -> Callable[[Callable[..., Operand]], Any]:
    """`@unary_transpose(p)`: enter (b, eqn, ct) -> ct_x for a p linear in its first input only."""

    def enter(rule: Callable[[Builder, Equation, Operand], Operand]) -> Any:
        def transpose_unary(
            b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
        ) -> Operands:
            ct = rule(b, eqn, cts[0])
            return [ct] if len(linear) == 1 else [ct, *[Zero(x.type) for x in eqn.inputs[1:]]]

        transpose.define(primitive, transpose_unary)
        return rule

    return enter


# -- batch ---------------------------------------------------------------------------------------


def batch_elementwise(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """The same operation: operands that are not batched broadcast along the batch axis."""
    aligned = align_ranks(b, inputs, batched, [len(x.type.shape) for x in eqn.inputs])
    return b.again(eqn, *aligned), (True,) * len(eqn.outputs)


def align_ranks(
    b: Builder, inputs: Operands, batched: Sequence[bool], ranks: Sequence[int]
) -> list[Operand]:
    """Give elementwise operands one rank by inserting axes of length 1; scalars stay scalars."""
    rank = max(ranks)
    aligned = []
    for x, is_batched, own in zip(inputs, batched, ranks, strict=True):
        shape = x.type.shape
        if is_batched and own < rank:  # a batched scalar among arrays
            x = b.reshape(x, new_sizes=(shape[0],) + (1,) * rank)
        elif not is_batched and own:
            x = b.reshape(x, new_sizes=(1, *shape))
        aligned.append(x)
    return aligned


def materialise_batch(b: Builder, x: Operand, is_batched: bool, size: int) -> Operand:
    """x with a batch axis in front, repeated if it has none."""
    if is_batched:
        return x
    shape = x.type.shape
    return b.broadcast(x, (size, *shape), range(1, len(shape) + 1))


def _batch_from_traits(primitive: Primitive) -> BatchRule | None:
    return batch_elementwise if primitive.elementwise else None


batch: RuleTable[BatchRule] = RuleTable("batch", _batch_from_traits, load=load_rules)


# -- equations with regions ----------------------------------------------------------------------

split: RuleTable[SplitRule] = RuleTable("partial_eval", load=load_rules)
"""How to take apart an equation with unknown inputs that has regions or effects; without a rule,
all of it waits, as do all others."""

dce: RuleTable[DceRule] = RuleTable("dce", load=load_region_rules)
"""How to drop what only unused outputs need; the outputs that stay keep their order."""
