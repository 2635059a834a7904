"""Typed keys as NumPy arrays: a structured dtype, so that every shape operation works on them.

An element of `key<fry>` has one field, named as the generator is, of two u32: `keys["fry"]` is the
array of words, which lie along its last axis, or axes.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

from ..errors import InterpretError
from ..ops.random import KEY_SHAPES, key_tag
from ..types import TensorType

Array = np.ndarray[Any, Any]


@cache
def key_struct(tag: str) -> np.dtype[Any]:
    """The dtype of a generator's keys."""
    return np.dtype([(tag, np.uint32, KEY_SHAPES[tag])])


def wrap(words: Array, tag: str) -> Array:
    """Keys from words, which lie along the last axes."""
    words = np.ascontiguousarray(words, np.uint32)
    rank = words.ndim - len(KEY_SHAPES[tag])
    return np.ndarray(words.shape[:rank], key_struct(tag), words)


def tag_of(keys: Array) -> str:
    """The generator of keys."""
    names = keys.dtype.names
    assert names is not None
    return str(names[0])


def unwrap(keys: Array) -> Array:
    """The words of keys, along new last axes."""
    words: Array = keys[tag_of(keys)]
    return words


def as_keys(x: Any, type: TensorType) -> Any:
    """x as keys of this type: from keys, from words, from JAX's key arrays.

    Values of extended dtypes that are no keys pass as they are. Raises InterpretError.
    """
    tag = key_tag(type.dtype)
    if tag not in KEY_SHAPES:
        return x
    if not isinstance(x, np.ndarray | np.generic):
        x = _words_of_jax_keys(x)
    x, shape = np.asarray(x), KEY_SHAPES[tag]
    are_words = x.dtype == np.uint32 and x.shape == (*type.shape, *shape)
    keys = wrap(x, tag) if are_words else x
    if keys.dtype != key_struct(tag) or keys.shape != type.shape:
        raise InterpretError(
            f"a value of type {type} is given as an array {x.dtype}{list(x.shape)}",
            hint=f"give its words, as an array uint32{[*type.shape, *shape]}",
        )
    return keys


def _words_of_jax_keys(x: Any) -> Array:
    """Reading JAX's arrays takes JAX: the layer that has it is found by name when it is needed."""
    package = __name__.rpartition(".ir.")[0]
    words: Array = importlib.import_module(f"{package}.frontend.avals").key_words(x)
    return words
