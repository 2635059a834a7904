"""Random number generators of a user's own, made by jax.extend.random.define_prng_impl."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..ir.ops.random import KEY_SHAPES
from ..lowering.jax_compat import KEY_TYPES
from .jax_compat import eval_context, is_registered, key_operations, key_type

if TYPE_CHECKING:
    from ..ir.interpret.generators import Generator

_OURS: Final = frozenset(KEY_SHAPES)
_TAGS: Final[dict[Any, str]] = {}
_ENTERING: Final = threading.Lock()


def tag_of(generator: Any) -> str:
    """What a generator is called in programs: its tag, unless another generator has that."""
    if generator.tag in _OURS and is_registered(generator):
        return str(generator.tag)
    found = _TAGS.get(generator)
    if found is None:
        with _ENTERING:
            found = _TAGS.get(generator) or _enter(generator)
    return found


def _enter(generator: Any) -> str:
    """Make a generator known to type rules, to lowering and to the interpreter."""
    from ..ir.interpret.generators import GENERATORS  # loaded when it is asked for

    stem = tag = re.sub(r"\W", "_", generator.tag)
    n = 1
    while tag in KEY_SHAPES:
        n += 1
        tag = f"{stem}_{n}"
    KEY_SHAPES[tag] = tuple(generator.key_shape)
    KEY_TYPES[f"key<{tag}>"] = key_type(generator)
    GENERATORS[tag, True] = GENERATORS[tag, False] = _interpreted(generator)
    _TAGS[generator] = tag
    return tag


def _interpreted(generator: Any) -> Generator:
    """The generator on NumPy's arrays of words, by JAX."""
    from ..ir.interpret.generators import Generator  # see above

    made = key_operations

    def keys(words: Any) -> Any:
        return made.random_wrap(words, impl=generator)

    def words(keys: Any) -> np.ndarray[Any, Any]:
        return np.asarray(made.random_unwrap(keys))

    def seed(seeds: Any) -> np.ndarray[Any, Any]:
        with eval_context():
            return words(made.random_seed(seeds, impl=generator))

    def split(given: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        with eval_context():
            return words(made.random_split(keys(given), shape=shape))

    def fold_in(given: Any, data: Any) -> np.ndarray[Any, Any]:
        with eval_context():
            return words(made.random_fold_in(keys(given), data))

    def bits(given: Any, width: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        with eval_context():
            return np.asarray(made.random_bits(keys(given), bit_width=width, shape=shape))

    return Generator(seed, split, fold_in, bits)
