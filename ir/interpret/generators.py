"""How each kind of keys is made, split and used, bit for bit as JAX does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..errors import InterpretError
from .hashes import philox2x32, philox4x32, threefry2x32, threefry4x32
from .xla_generators import generate

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Generator:
    """One kind of keys, each an array of words along the last axis, or axes.

    seed(seeds), split(keys, shape) and fold_in(keys, data) make keys; bits(keys, width, shape)
    makes integers whose low `width` bits are random.
    """

    seed: Callable[[Array], Array]
    split: Callable[[Array, Shape], Array]
    fold_in: Callable[[Array, Array], Array]
    bits: Callable[[Array, int, Shape], Array]


def _zero(like: Array) -> Array:
    return np.zeros_like(like, np.uint32)


def halves(numbers: Array) -> tuple[Array, Array]:
    """The high and low words of 64-bit integers."""
    numbers = numbers.astype(np.uint64)
    return (numbers >> np.uint64(32)).astype(np.uint32), numbers.astype(np.uint32)


def join(high: Array, low: Array) -> Array:
    return (high.astype(np.uint64) << np.uint64(32)) | low


def numbered(shape: Shape) -> tuple[Array, Array]:
    """0, 1, 2, ... in row-major order, as high and low words."""
    return halves(np.arange(math.prod(shape), dtype=np.uint64).reshape(shape))


def words_before(keys: Array, rank: int) -> list[Array]:
    """The words of keys, with `rank` axes of length 1 behind those of the keys."""
    shape = keys.shape[:-1] + (1,) * rank
    return [keys[..., i].reshape(shape) for i in range(keys.shape[-1])]


def seeds_as_words(seeds: Array) -> tuple[Array, Array]:
    """The words of seeds; those narrower than 64 bits have no high one."""
    high, low = halves(seeds)
    return (high if seeds.dtype.itemsize == 8 else _zero(high)), low


def _of_words(make: Callable[[Array, Array], Array]) -> Callable[[Array], Array]:
    """Keys of seeds, made of the seeds' high and low words."""
    return lambda seeds: make(*seeds_as_words(seeds))


# -- Threefry-2x32 -------------------------------------------------------------------------------


def _fry_split(keys: Array, shape: Shape) -> Array:
    words = words_before(keys, len(shape))
    return np.stack(threefry2x32(*words, *numbered(shape)), -1)


def _fry_fold_in(keys: Array, data: Array) -> Array:
    return np.stack(threefry2x32(*words_before(keys, 0), _zero(data), data), -1)


def _fry_bits(keys: Array, width: int, shape: Shape) -> Array:
    words = words_before(keys, len(shape))
    high, low = threefry2x32(*words, *numbered(shape))
    return join(high, low) if width == 64 else high ^ low


def _fry_counts(keys: Array, n: int) -> Array:
    """n words of each key, not partitionable: number i is hashed together with number n/2 + i."""
    counts = np.zeros(n + n % 2, np.uint32)
    counts[:n] = np.arange(n)
    first, second = np.split(counts, 2)
    return np.concatenate(threefry2x32(*words_before(keys, 1), first, second), -1)[..., :n]


def _fry_split_in_order(keys: Array, shape: Shape) -> Array:
    return _fry_counts(keys, 2 * math.prod(shape)).reshape((*keys.shape[:-1], *shape, 2))


def _fry_bits_in_order(keys: Array, width: int, shape: Shape) -> Array:
    """Words are cut into fields from the low end; 64 bits are word i and word n/2 + i."""
    size = math.prod(shape)
    n_words = -(-width * size // 32)
    if n_words >= 2**32 - 1:
        raise InterpretError(f"{n_words} words from one key are too many")
    words = _fry_counts(keys, n_words)
    if width == 64:
        bits = join(*np.split(words, 2, -1))
    else:
        shifts = np.arange(0, 32, width, dtype=np.uint32)
        fields = words[..., None] >> shifts
        bits = fields.reshape((*words.shape[:-1], n_words * len(shifts)))[..., :size]
    return bits.reshape((*keys.shape[:-1], *shape))


FRY: Final = Generator(
    seed=_of_words(lambda high, low: np.stack([high, low], -1)),
    split=_fry_split,
    fold_in=_fry_fold_in,
    bits=_fry_bits,
)
FRY_IN_ORDER: Final = Generator(FRY.seed, _fry_split_in_order, FRY.fold_in, _fry_bits_in_order)

# -- Threefry-4x32 and Philox --------------------------------------------------------------------


def _fry4_seed(high: Array, low: Array) -> Array:
    zero = _zero(low)
    return np.stack(threefry4x32(high, low, *[zero] * 6), -1)


def _fry4_split(keys: Array, shape: Shape) -> Array:
    words, (high, low) = words_before(keys, len(shape)), numbered(shape)
    return np.stack(threefry4x32(*words, _zero(low), _zero(low), high, low), -1)


def _fry4_fold_in(keys: Array, data: Array) -> Array:
    zero = _zero(data)
    return np.stack(threefry4x32(*words_before(keys, 0), zero, zero, zero, data), -1)


def _fry4_bits(keys: Array, width: int, shape: Shape) -> Array:
    words, (high, low) = words_before(keys, len(shape)), numbered(shape)
    a, b, c, d = threefry4x32(*words, high, low, _zero(low), _zero(low))
    return join(a ^ c, b ^ d) if width == 64 else a ^ b ^ c ^ d


def _phx2_split(keys: Array, shape: Shape) -> Array:
    return philox2x32(*words_before(keys, len(shape)), *numbered(shape))[0][..., None]


def _phx2_bits(keys: Array, width: int, shape: Shape) -> Array:
    high, low = philox2x32(*words_before(keys, len(shape)), *numbered(shape))
    return join(high, low) if width == 64 else high ^ low


def _phx4_split(keys: Array, shape: Shape) -> Array:
    words, (high, low) = words_before(keys, len(shape)), numbered(shape)
    return np.stack(philox4x32(*words, _zero(low), _zero(low), high, low)[:2], -1)


def _phx4_fold_in(keys: Array, data: Array) -> Array:
    zero = _zero(data)
    return np.stack(philox4x32(*words_before(keys, 0), zero, zero, zero, data)[:2], -1)


def _phx4_bits(keys: Array, width: int, shape: Shape) -> Array:
    words, (high, low) = words_before(keys, len(shape)), numbered(shape)
    a, b, c, d = philox4x32(*words, high, low, _zero(low), _zero(low))
    return join(a, b) if width == 64 else a ^ b ^ c ^ d


FRY4: Final = Generator(_of_words(_fry4_seed), _fry4_split, _fry4_fold_in, _fry4_bits)
PHX2: Final = Generator(
    seed=_of_words(lambda high, low: philox2x32(_zero(low), high, low)[0][..., None]),
    split=_phx2_split,
    fold_in=lambda keys, data: philox2x32(keys[..., 0], _zero(data), data)[0][..., None],
    bits=_phx2_bits,
)
PHX4: Final = Generator(
    seed=_of_words(
        lambda high, low: np.stack(
            philox4x32(_zero(low), _zero(low), high, low, _zero(low), _zero(low))[:2], -1
        )
    ),
    split=_phx4_split,
    fold_in=_phx4_fold_in,
    bits=_phx4_bits,
)

# -- XLA's generator -----------------------------------------------------------------------------


def _rbg_seed(high: Array, low: Array) -> Array:
    return np.stack([high, low, high, low], -1)


def _each_half(derive: Callable[[Array], Array], keys: Array) -> Array:
    """Keys of four words, derived as two keys of Threefry-2x32."""
    return np.concatenate([derive(keys[..., :2]), derive(keys[..., 2:])], -1)


def _rbg_bits(keys: Array, width: int, shape: Shape) -> Array:
    """The bits of all keys come from the first one: so JAX vectorises XLA's generator."""
    batch = keys.shape[:-1]
    if 0 in batch:
        return np.zeros((*batch, *shape), np.uint64)
    first = keys[(0,) * len(batch)]
    return generate(first, (*batch, *shape), np.dtype(f"uint{width}"), "RNG_DEFAULT")[1]


def _urbg_split(keys: Array, shape: Shape) -> Array:
    """Every tenth of ten times as many keys as are wanted."""
    many = _rbg_bits(keys, 32, (10 * math.prod(shape), 4))
    return many[..., ::10, :].reshape((*keys.shape[:-1], *shape, 4))


def _urbg_fold_in(keys: Array, data: Array) -> Array:
    own = data.reshape([n for n in data.shape if n != 1])
    bits = _rbg_bits(_rbg_seed(_zero(own), own), 32, (10, 4))[..., -1, :]
    return keys ^ bits.reshape((*data.shape, 4))


def _rbg_of(fry: Generator) -> Generator:
    return Generator(
        _of_words(_rbg_seed),
        lambda keys, shape: _each_half(lambda half: fry.split(half, shape), keys),
        lambda keys, data: _each_half(lambda half: fry.fold_in(half, data), keys),
        _rbg_bits,
    )


GENERATORS: Final[dict[tuple[str, bool], Generator]] = {
    ("fry", True): FRY,
    ("fry", False): FRY_IN_ORDER,
    ("rbg", True): _rbg_of(FRY),
    ("rbg", False): _rbg_of(FRY_IN_ORDER),
    **{
        (tag, partitionable): generator
        for tag, generator in {
            "urbg": Generator(_of_words(_rbg_seed), _urbg_split, _urbg_fold_in, _rbg_bits),
            "fry4": FRY4,
            "phx2": PHX2,
            "phx4": PHX4,
        }.items()
        for partitionable in (True, False)
    },
}
