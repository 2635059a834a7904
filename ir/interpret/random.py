"""What random primitives mean. Keys come and go as in `keys`; generators are in `generators`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import random as r
from ..ops.random import KEY_SHAPES
from . import means
from .generators import GENERATORS, numbered
from .keys import tag_of, unwrap, wrap
from .samplers import gamma
from .xla_generators import generate

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@means(r.random_seed)
def _random_seed(seeds: Array, impl: str) -> Array:
    return wrap(GENERATORS[impl, True].seed(np.asarray(seeds)), impl)


means(r.random_wrap)(lambda words, impl: wrap(words, impl))
means(r.random_unwrap)(unwrap)
means(r.random_clone)(lambda keys: keys)


@means(r.random_split)
def _random_split(keys: Array, shape: Shape, partitionable: bool) -> Array:
    tag = tag_of(keys)
    return wrap(GENERATORS[tag, partitionable].split(unwrap(keys), shape), tag)


@means(r.random_fold_in)
def _random_fold_in(keys: Array, data: Array) -> Array:
    tag = tag_of(keys)
    return wrap(GENERATORS[tag, True].fold_in(unwrap(keys), np.asarray(data, np.uint32)), tag)


@means(r.random_bits)
def _random_bits(keys: Array, bit_width: int, shape: Shape, partitionable: bool) -> Array:
    bits = GENERATORS[tag_of(keys), partitionable].bits(unwrap(keys), bit_width, shape)
    return bits.astype(f"uint{bit_width}")


@means(r.iota_2x32_shape)
def _iota_2x32_shape(shape: Shape) -> tuple[Array, Array]:
    return numbered(shape)


@means(r.rng_bit_generator)
def _rng_bit_generator(key: Array, shape: Shape, dtype: Any, algorithm: str) -> tuple[Array, Array]:
    return generate(key, shape, dtype, algorithm)


@means(r.rng_uniform)
def _rng_uniform(low: Array, high: Array, shape: Shape) -> Array:
    """Other numbers each time, as from XLA."""
    ranks = np.random.default_rng().random(shape)
    if low.dtype.kind in "iub":
        return np.floor(low + ranks * (np.asarray(high, np.float64) - low))
    return low + ranks * (np.asarray(high, np.float64) - low)


@means(r.random_gamma)
def _random_gamma(keys: Array, a: Array, log_space: bool, partitionable: bool) -> Array:
    """The keys are split among the elements of `a` that each of them serves."""
    tag = tag_of(keys)
    generator = GENERATORS[tag, partitionable]
    n_each = a.size // keys.size if keys.size else 0
    each = generator.split(unwrap(keys).reshape(keys.size, *KEY_SHAPES[tag]), (n_each,))
    each = each.reshape(a.size, *KEY_SHAPES[tag])
    samples = np.empty(a.size, a.dtype)
    for i, (words, alpha) in enumerate(zip(each, a.flat, strict=True)):
        samples[i] = gamma(generator, words, alpha, log_space)
    return samples.reshape(a.shape)
