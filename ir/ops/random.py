"""Random numbers: typed keys, what is derived from them, and the hashes that do it.

A typed key is one element of an extended dtype `key<tag>`; the tag names the generator, which makes
each key of an array of 32-bit words, of shape `KEY_SHAPES[tag]`. Nothing here has state: equal keys
give equal numbers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ..errors import TypeRuleError, did_you_mean
from ..primitive import REQUIRED, Primitive, Types, define
from ..types import Dtype, ExtendedDtype, TensorType, dtype_category, dtype_name
from .operands import FLOAT, INTEGER, accept, all_weak, broadcast_shapes, same_dtype

Params = dict[str, Any]

UINT32: Final = np.dtype(np.uint32)
DISCRETE: Final = "random bits do not depend smoothly on anything"

KEY_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "fry": (2,), "rbg": (4,), "urbg": (4,), "fry4": (4,), "phx2": (1,), "phx4": (2,)
}  # fmt: skip
"""The words of a key, by generator: Threefry-2x32; XLA's bit generator with Threefry for derived
keys, and without; Threefry-4x32; Philox-2x32; Philox-4x32. Those of a user's own are entered when
they are met."""


def key_tag(dtype: Dtype) -> str | None:
    """The generator of a key dtype: `fry` of `key<fry>`; None for other dtypes."""
    if isinstance(dtype, ExtendedDtype) and dtype.name.startswith("key<"):
        return dtype.name[4:-1]
    return None


def key_dtype(tag: str) -> ExtendedDtype:
    """The dtype of a generator's keys. Raises TypeRuleError for an unknown generator."""
    if tag not in KEY_SHAPES:
        hint = did_you_mean(tag, KEY_SHAPES) or f"generators: {', '.join(KEY_SHAPES)}"
        raise TypeRuleError(f"there is no random number generator {tag!r}", hint=hint)
    return ExtendedDtype(f"key<{tag}>")


def _unpack(name: str, types: Types, count: int) -> Types:
    """The operands' types. Raises TypeRuleError unless there are so many."""
    if len(types) != count:
        raise TypeRuleError(f"{name} takes {count} operands, got {len(types)}")
    return types


def _check_keys(name: str, type: TensorType) -> str:
    tag = key_tag(type.dtype)
    if tag is None:
        raise TypeRuleError(f"{name} takes typed keys, not {type}")
    key_dtype(tag)
    return tag


# -- keys ----------------------------------------------------------------------------------------


def _infer_seed(types: Types, params: Params) -> TensorType:
    (seeds,) = _unpack("random_seed", types, 1)
    accept("random_seed", seeds.dtype, INTEGER)
    return TensorType(seeds.shape, key_dtype(params["impl"]))


def _infer_wrap(types: Types, params: Params) -> TensorType:
    (words,) = _unpack("random_wrap", types, 1)
    dtype, shape = key_dtype(params["impl"]), KEY_SHAPES[params["impl"]]
    rank = len(words.shape) - len(shape)
    if words.dtype != UINT32 or rank < 0 or words.shape[rank:] != shape:
        raise TypeRuleError(f"a {dtype} is an array u32{[*shape]}; got {words}")
    return TensorType(words.shape[:rank], dtype)


def _infer_unwrap(types: Types, params: Params) -> TensorType:
    (keys,) = _unpack("random_unwrap", types, 1)
    return TensorType((*keys.shape, *KEY_SHAPES[_check_keys("random_unwrap", keys)]), UINT32)


def _infer_split(types: Types, params: Params) -> TensorType:
    (keys,) = _unpack("random_split", types, 1)
    _check_keys("random_split", keys)
    return TensorType((*keys.shape, *params["shape"]), keys.dtype)


def _infer_fold_in(types: Types, params: Params) -> TensorType:
    keys, data = _unpack("random_fold_in", types, 2)
    _check_keys("random_fold_in", keys)
    accept("random_fold_in", data.dtype, INTEGER)
    return TensorType(broadcast_shapes("random_fold_in", types), keys.dtype)


def _infer_bits(types: Types, params: Params) -> TensorType:
    (keys,) = _unpack("random_bits", types, 1)
    _check_keys("random_bits", keys)
    if params["bit_width"] not in (8, 16, 32, 64):
        raise TypeRuleError(f"random_bits makes 8, 16, 32 or 64, not {params['bit_width']}")
    dtype = np.dtype(f"uint{params['bit_width']}")
    return TensorType((*keys.shape, *params["shape"]), dtype)


random_seed = define(
    "random_seed",
    _infer_seed,
    defaults={"impl": REQUIRED},
    elementwise=True,
    not_differentiable=DISCRETE,
)
"""One key for each integer."""

random_wrap = define(
    "random_wrap", _infer_wrap, defaults={"impl": REQUIRED}, not_differentiable=DISCRETE
)
"""Words as keys: the last axes hold the words of one key."""

random_unwrap = define("random_unwrap", _infer_unwrap, not_differentiable=DISCRETE)
"""The words of keys, along new last axes."""

random_split = define(
    "random_split",
    _infer_split,
    defaults={"shape": REQUIRED, "partitionable": True},
    not_differentiable=DISCRETE,
)
"""`shape` new keys from each key. For `partitionable`, see random_bits."""

random_fold_in = define(
    "random_fold_in", _infer_fold_in, elementwise=True, not_differentiable=DISCRETE
)
"""`random_fold_in keys data`: a new key from each key and integer (taken modulo 2^32)."""

random_bits = define(
    "random_bits",
    _infer_bits,
    defaults={"bit_width": 32, "shape": REQUIRED, "partitionable": True},
    not_differentiable=DISCRETE,
)
"""Random unsigned integers of `bit_width` bits, an array of `shape` for each key.

`partitionable`: element i depends on the key and i only, so that devices can each make a part. It
is a way of numbering Threefry-2x32's blocks (JAX's option jax_threefry_partitionable).
"""

random_clone = define(
    "random_clone",
    lambda types, params: types[0],
    elementwise=True,
    family="random",
    not_differentiable=DISCRETE,
)
"""The same keys, for a user who means to use them twice."""

# -- hashes --------------------------------------------------------------------------------------


def _hash(name: str, n_inputs: int, n_outputs: int) -> Primitive:
    """Define an elementwise function of 32-bit words: the key's first, then the counter's."""

    def infer(types: Types, params: Params) -> Types:
        _unpack(name, types, n_inputs)
        if same_dtype(name, types) != UINT32:
            raise TypeRuleError(f"{name} takes u32 words, not {dtype_name(types[0].dtype)}")
        return (TensorType(broadcast_shapes(name, types), UINT32),) * n_outputs

    return define(name, infer, elementwise=True, family="random", not_differentiable=DISCRETE)


threefry2x32 = _hash("threefry2x32", 4, 2)
threefry4x32 = _hash("threefry4x32", 8, 4)
philox2x32 = _hash("philox2x32", 3, 2)
philox4x32 = _hash("philox4x32", 6, 4)


def _infer_iota_2x32(types: Types, params: Params) -> Types:
    if not params["shape"]:
        raise TypeRuleError("iota_2x32_shape numbers the elements of an array, not of a scalar")
    return (TensorType(params["shape"], UINT32),) * 2


iota_2x32_shape = define(
    "iota_2x32_shape",
    _infer_iota_2x32,
    defaults={"shape": REQUIRED},
    not_differentiable=DISCRETE,
)
"""0, 1, 2, ... in row-major order, as 64-bit integers: their high words, their low words."""

# -- distributions and XLA's generators ----------------------------------------------------------


def _infer_gamma(types: Types, params: Params) -> TensorType:
    keys, a = _unpack("random_gamma", types, 2)
    _check_keys("random_gamma", keys)
    accept("random_gamma", a.dtype, FLOAT)
    if a.shape[: len(keys.shape)] != keys.shape:
        raise TypeRuleError(f"random_gamma takes a key for each row of {a}, got {keys}")
    return a


random_gamma = define(
    "random_gamma", _infer_gamma, defaults={"log_space": False, "partitionable": True}
)
"""`random_gamma keys a`: samples of Gamma(a, 1), or their logarithms; each key serves the elements
of `a` behind its own axes."""

ALGORITHMS: Final = ("RNG_DEFAULT", "RNG_THREE_FRY", "RNG_PHILOX")


def _infer_rng_bit_generator(types: Types, params: Params) -> Types:
    (key,) = _unpack("rng_bit_generator", types, 1)
    if (dtype_name(key.dtype), key.shape) not in (("u32", (4,)), ("u64", (2,))):
        raise TypeRuleError(f"rng_bit_generator takes a key u32[4] or u64[2], not {key}")
    if params["algorithm"] not in ALGORITHMS:
        raise TypeRuleError(f"rng_bit_generator has no algorithm {params['algorithm']!r}")
    if dtype_category(params["dtype"]) not in INTEGER:
        raise TypeRuleError(f"rng_bit_generator makes integers, not {dtype_name(params['dtype'])}")
    return key, TensorType(params["shape"], params["dtype"])


rng_bit_generator = define(
    "rng_bit_generator",
    _infer_rng_bit_generator,
    defaults={"shape": REQUIRED, "dtype": UINT32, "algorithm": "RNG_DEFAULT"},
    not_differentiable=DISCRETE,
)
"""XLA's generator: (the next key, random integers). RNG_DEFAULT is the platform's own algorithm;
the interpreter takes Philox, as XLA's CPU and GPU compilers do."""


def _infer_rng_uniform(types: Types, params: Params) -> TensorType:
    low, high = _unpack("rng_uniform", types, 2)
    if low.shape or high.shape:
        raise TypeRuleError(f"the bounds of rng_uniform are scalars; got {low} and {high}")
    dtype = same_dtype("rng_uniform", types)
    accept("rng_uniform", dtype, FLOAT | INTEGER | {"bool"})
    return TensorType(params["shape"], dtype, all_weak(types))


rng_uniform = define(
    "rng_uniform",
    _infer_rng_uniform,
    defaults={"shape": REQUIRED},
    not_differentiable=DISCRETE,
    effects=frozenset({"random"}),
)
"""`rng_uniform low high`: numbers from a generator with state, other ones at each execution."""
