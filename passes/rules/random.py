"""How random primitives transform.

Samples are smooth in their distribution's parameters with the key held fixed; bits are smooth in
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes

from ...ir.builder import Builder, Operand
from ...ir.errors import MissingRule
from ...ir.graph import Equation
from ...ir.ops import random as r
from ...ir.types import INT32, TensorType
from .. import tables
from ..tables import Operands, materialise_batch

Batched = tuple[Operands, Sequence[bool]]


@tables.jvp.rule(r.random_gamma)
def jvp_random_gamma(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """dx/da with the sample's rank P(a, x) held fixed; d log x = dx / x for logarithms.

    A sample whose logarithm is so low that it rounds to 0 is taken to be the smallest number.
    """
    a, sample = eqn.inputs[1], eqn.outputs[0]
    if not eqn.params["log_space"]:
        return [b.mul(tangents[1], b.random_gamma_grad(a, sample))]
    type = sample.type
    x = b.exp(sample)
    tiny = float(ml_dtypes.finfo(type.dtype).tiny)
    x = b.select_n(b.eq(x, b.full(type, 0)), x, b.full(type, tiny))
    return [b.mul(tangents[1], b.div(b.random_gamma_grad(a, x), x))]


@tables.batch.rule(r.random_wrap, r.random_unwrap, r.random_split, r.random_bits)
def batch_keys(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """The axes of keys come first in all results."""
    return b.emit(eqn.primitive, *inputs, **eqn.params), (True,)


@tables.batch.rule(r.random_gamma)
def batch_random_gamma(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    full = [materialise_batch(b, x, is_b, size) for x, is_b in zip(inputs, batched, strict=True)]
    return b.emit(eqn.primitive, *full, **eqn.params), (True,)


@tables.batch.rule(r.rng_bit_generator)
def batch_rng_bit_generator(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    """All examples' bits come from the first key, and only that key moves on: what JAX does, since
    XLA's generator takes one key. Examples differ, but are not what each key alone would give."""
    (keys,) = inputs
    first = b.reshape(_row(b, keys), new_sizes=eqn.inputs[0].type.shape)
    params = {**eqn.params, "shape": (size, *eqn.params["shape"])}
    after, bits = b.emit(r.rng_bit_generator, first, **params)
    zero = b.literal(0, TensorType((), INT32))
    row = b.reshape(after, new_sizes=(1, *after.type.shape))
    moved = b.dynamic_update_slice(keys, row, zero, zero)
    return [moved, bits], (True, True)


def _row(b: Builder, x: Operand) -> Any:
    """The first row."""
    shape = x.type.shape
    return b.slice(x, start_indices=(0,) * len(shape), limit_indices=(1, *shape[1:]))


@tables.batch.rule(r.rng_uniform)
def batch_rng_uniform(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> Batched:
    raise MissingRule(
        "rng_uniform takes one pair of bounds, and its generator has one state for all examples",
        eqn,
        hint="draw with jax.random, from keys",
    )
