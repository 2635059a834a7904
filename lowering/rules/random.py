"""Random numbers: typed keys are their words; the generators are JAX's own lowerings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ...ir.graph import Equation
from ...ir.ops import random as ops
from ...ir.types import TensorType
from .. import borrow
from ..context import Context, MlirValue
from ..jax_compat import key_implementation
from ..tables import lower

Operands = Sequence[MlirValue]


@lower.rule(ops.random_wrap, ops.random_unwrap, ops.random_clone)
def lower_same_words(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return operands


@dataclass(frozen=True)
class Numbered:
    """A JAX primitive under a setting of jax_threefry_partitionable, no parameter of it."""

    name: str
    partitionable: bool

    def bind(self, *operands: Any, **params: Any) -> Any:
        return borrow.find_primitive(self.name).bind(*operands, **params)


def _borrow(
    ctx: Context, eqn: Equation, operands: Operands, primitive: Any = None, **params: Any
) -> Operands:
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    return ctx.borrow(primitive or eqn.primitive.name, *types, operands, **params)


@lower.rule(ops.random_split, ops.random_bits, ops.random_gamma)
def lower_numbered(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    params = dict(eqn.params)
    partitionable = params.pop("partitionable")
    setting: Any = jax.threefry_partitionable
    with setting(partitionable):
        primitive = Numbered(eqn.primitive.name, partitionable)
        return _borrow(ctx, eqn, operands, primitive, **params)


@lower.rule(ops.random_seed)
def lower_seed(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return _borrow(ctx, eqn, operands, impl=key_implementation(eqn.params["impl"]))


@lower.rule(ops.iota_2x32_shape, ops.random_fold_in, ops.rng_uniform)
def lower_as_it_is(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    return _borrow(ctx, eqn, operands, **eqn.params)


@lower.rule(ops.rng_bit_generator)
def lower_bit_generator(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    algorithm = jax.lax.RandomAlgorithm[eqn.params["algorithm"]]
    params = {**eqn.params, "algorithm": algorithm}
    return _borrow(ctx, eqn, operands, out_sharding=None, **params)


@lower.rule(ops.threefry2x32, ops.threefry4x32, ops.philox2x32, ops.philox4x32)
def lower_elementwise(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    outputs = [v.type for v in eqn.outputs]
    shape = outputs[0].shape
    inputs = [TensorType(shape, x.type.dtype) for x in eqn.inputs]
    values = ctx.spread(eqn.inputs, operands, shape)
    return ctx.borrow(eqn.primitive.name, inputs, outputs, values)
