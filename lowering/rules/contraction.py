"""Contractions: dot_general and ragged_dot_general."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo as hlo

from ...ir.graph import Equation
from ...ir.ops import contraction as ops
from ...ir.types import Dtype, TensorType, dtype_category
from ..context import Context, MlirValue
from ..narrow import converted, in_bytes
from ..tables import lower
from .conversion import convert
from .small_products import is_many_small, small_products

Operands = Sequence[MlirValue]
HALF, FLOAT = np.dtype(np.float16), np.dtype(np.float32)
AxesPair = tuple[tuple[int, ...], tuple[int, ...]]


@lower.rule(ops.dot_general)
def lower_dot_general(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    p, out = eqn.params, eqn.outputs[0].type
    if p["precision"] == "F16_F16_F32" and ctx.is_on("cpu"):
        return _halves_in_floats(ctx, eqn, operands)
    if ctx.platforms == ("cpu",) and is_many_small(eqn):
        return [small_products(ctx, eqn, operands)]
    if is_algorithm(p["precision"]):
        return _by_algorithm(ctx, eqn, operands)
    types = [x.type for x in eqn.inputs]
    if all([t.dtype == types[0].dtype and in_bytes(t) is not t for t in types]) and ctx.is_on(
        "cpu"
    ):
        wide = in_bytes(out)
        operands = converted(ctx, operands, types, [in_bytes(t) for t in types])
        return converted(ctx, [_dot(ctx, eqn, operands, wide, p["precision"])], [wide], [out])
    lhs, rhs = unify(ctx, eqn, operands)
    return [_dot(ctx, eqn, (lhs, rhs), out, p["precision"])]


def _dot(
    ctx: Context, eqn: Equation, operands: Operands, out: TensorType, wanted: Any
) -> MlirValue:
    axes = eqn.params["dimension_numbers"]
    numbers = ctx.attributes.once(("dot", axes), lambda: _dot_numbers(*axes))
    return ctx.op(
        "stablehlo.dot_general",
        out,
        *operands,
        dot_dimension_numbers=numbers,
        precision_config=precision(ctx, wanted),
    )


def _dot_numbers(contracting: AxesPair, batch: AxesPair) -> Any:
    """((contracting axes of lhs, of rhs), (batch axes of lhs, of rhs)) as StableHLO says them."""
    return hlo.DotDimensionNumbers.get(
        lhs_batching_dimensions=list(batch[0]),
        rhs_batching_dimensions=list(batch[1]),
        lhs_contracting_dimensions=list(contracting[0]),
        rhs_contracting_dimensions=list(contracting[1]),
    )


def precision(ctx: Context, wanted: Any) -> ir.Attribute:
    """The precision of each operand: None or a pair of names; an algorithm says nothing of it."""
    is_told = wanted is not None and not is_algorithm(wanted)
    lhs, rhs = wanted if is_told else ("DEFAULT", "DEFAULT")
    return ctx.attributes.parse(f"[#stablehlo<precision {lhs}>, #stablehlo<precision {rhs}>]")


def is_algorithm(wanted: Any) -> bool:
    """Whether a precision is an algorithm: a preset's name, or seven properties."""
    return isinstance(wanted, str) or (wanted is not None and len(wanted) > 2)


def unify(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Operands of different dtypes get the result's, except where XLA multiplies mixed ones."""
    lhs, rhs = (x.type for x in eqn.inputs[:2])
    if lhs.dtype == rhs.dtype:
        return operands[:2]
    if _is_float8(lhs.dtype) and _is_float8(rhs.dtype) and not ctx.is_on("tpu"):
        return operands[:2]
    mixed = ("int", "uint", "float")
    if all(dtype_category(t.dtype) in mixed for t in (lhs, rhs)) and ctx.is_on("tpu"):
        return operands[:2]
    dtype = eqn.outputs[0].type.dtype
    return [
        convert(ctx, value, type, dtype)
        for value, type in zip(operands[:2], (lhs, rhs), strict=True)
    ]


def _is_float8(dtype: Dtype) -> bool:
    return dtype.name.startswith("float8")


def _by_algorithm(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """What each algorithm stands for on each platform is JAX's to know."""
    p = eqn.params
    algorithm = jax_precision(p["precision"])
    return ctx.borrow(
        "dot_general",
        [x.type for x in eqn.inputs],
        [eqn.outputs[0].type],
        operands,
        dimension_numbers=p["dimension_numbers"],
        precision=algorithm,
        preferred_element_type=p["preferred_element_type"],
        out_sharding=None,
    )


def _halves_in_floats(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Products of float16 summed in float32, which XLA has no algorithm for on CPUs: the products
    are exact in float32. (JAX refuses it there, and jax.nn.dot_product_attention asks for it.)"""
    out = eqn.outputs[0].type
    floats = []
    for x, value in zip(eqn.inputs, operands, strict=True):
        half = convert(ctx, value, x.type, HALF)
        floats.append(convert(ctx, half, x.type.with_dtype(HALF), FLOAT))
    total = out.with_dtype(FLOAT)
    return [convert(ctx, _dot(ctx, eqn, floats, total, None), total, out.dtype)]


def jax_precision(wanted: Any) -> Any:
    """A precision as JAX's own parameter."""
    if isinstance(wanted, str):
        return jax.lax.DotAlgorithmPreset[wanted]
    if is_algorithm(wanted):
        make: Any = jax.lax.DotAlgorithm
        return make(*wanted)
    return wanted and tuple(jax.lax.Precision[name] for name in wanted)


@lower.rule(ops.ragged_dot_general)
def lower_ragged_dot_general(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """Masks and a dot_general, or one operation, as JAX has it on each platform."""
    p = eqn.params
    numbers = jax.lax.RaggedDotDimensionNumbers(
        p["dimension_numbers"], p["lhs_ragged_dimensions"], p["rhs_group_dimensions"]
    )
    return ctx.borrow(
        "ragged_dot_general",
        [x.type for x in eqn.inputs],
        [eqn.outputs[0].type],
        operands,
        ragged_dot_dimension_numbers=numbers,
        precision=jax_precision(p["precision"]),
        preferred_element_type=p["preferred_element_type"],
        group_offset=None,
        out_sharding=None,
    )
