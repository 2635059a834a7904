"""Types on the two sides: our TensorType and JAX's avals, translated both ways and remembered."""

from __future__ import annotations

from typing import Any, Final

import jax
import jax.export
import numpy as np

from ..ir.errors import ArgumentError, UsageError
from ..ir.types import BOOL, ExtendedDtype, TensorType
from ..lowering.jax_compat import key_dtype
from .generators import tag_of
from .jax_compat import ShapedArray, eval_context, generator_of, is_extended, typeof
from .jax_compat_refs import AbstractRef, RefViewError


class SymbolicSizesError(UsageError):
    """A shape has the symbolic dimensions of jax.export."""


_TYPES: Final[dict[Any, TensorType]] = {}
AVALS: Final[dict[TensorType, Any]] = {}


def to_type(aval: Any) -> TensorType:
    """Our type for JAX's. Raises UsageError for what is no array (references, tokens)."""
    found = _TYPES.get(aval)
    if found is None:
        if type(aval) is not ShapedArray:
            raise UsageError(f"values of type {aval} are not supported: only arrays and keys are")
        found = _make_type(aval.shape, to_dtype(aval.dtype), bool(aval.weak_type))
        _TYPES[aval] = found
    return found


def _make_type(shape: tuple[Any, ...], dtype: Any, weak: bool) -> TensorType:
    """A type. Raises SymbolicSizesError for sizes that are not known."""
    try:
        return TensorType(shape, dtype, weak)
    except Exception:
        if not any(map(jax.export.is_symbolic_dim, shape)):
            raise
    raise SymbolicSizesError(
        f"a shape has symbolic dimensions, {shape}: programs are of known sizes",
        hint="export a function for each size; jit, vmap and derivatives, without options that are "
        "covector's alone, leave such functions to JAX",
    )


def to_aval(type: TensorType) -> Any:
    """JAX's type for ours."""
    found = AVALS.get(type)
    if found is None:
        found = ShapedArray(type.shape, to_jax_dtype(type.dtype), weak_type=type.weak)
        AVALS[type] = found
        _TYPES.setdefault(found, type)
    return found


def to_dtype(dtype: Any) -> Any:
    """Our dtype for JAX's: they differ for extended ones, and for float0 inside of jaxprs, which is
    bool here."""
    if is_extended(dtype):
        generator = generator_of(dtype)
        return ExtendedDtype(dtype.name if generator is None else f"key<{tag_of(generator)}>")
    return BOOL if dtype == jax.dtypes.float0 else np.dtype(dtype)


def to_jax_dtype(dtype: Any) -> Any:
    """JAX's dtype for ours."""
    if not isinstance(dtype, ExtendedDtype):
        return dtype
    found = _KEY_DTYPES.get(dtype)
    if found is None:
        found = _KEY_DTYPES[dtype] = key_dtype(dtype.name)
    return found


_KEY_DTYPES: Final[dict[ExtendedDtype, Any]] = {}


def type_of(x: Any) -> TensorType:
    """The type of an argument: an array, a tracer, a scalar, or something with a shape and a dtype.

    As for jax.jit, 64-bit types become 32-bit ones unless x64 is on. Of a mutable array it is the
    type of what it holds. Raises UsageError for a view of one, TypeError for others.
    """
    if isinstance(x, TensorType):
        return x
    if isinstance(x, jax.ShapeDtypeStruct):
        weak = bool(getattr(x, "weak_type", False))
        dtype = x.dtype if is_extended(x.dtype) else jax.dtypes.canonicalize_dtype(x.dtype)
        return _make_type(tuple(x.shape), to_dtype(dtype), weak)
    if isinstance(x, ShapedArray):
        return to_type(x)
    try:
        aval = typeof(x)
    except RefViewError:
        raise UsageError(
            "a view of a mutable array (ref.at[...]) is no argument of a traced function",
            hint="pass the array itself, and index it in the function",
        ) from None
    return to_type(aval.inner_aval if isinstance(aval, AbstractRef) else aval)


def check_no_strings(type: TensorType) -> TensorType:
    """The type. Raises ArgumentError for an array of strings."""
    if type.dtype.kind == "T":
        raise ArgumentError(
            f"Argument with dtype {type.dtype} is not a valid JAX type: no program computes with "
            "strings"
        )
    return type


def as_weak(x: Any, weak: bool = True) -> Any:
    """An array weakly typed or not."""
    if typeof(x).weak_type == weak:
        return x
    return jax.lax.convert_element_type_p.bind(
        x, new_dtype=jax.typeof(x).dtype, weak_type=weak, sharding=None
    )


def to_struct(type: TensorType) -> jax.ShapeDtypeStruct:
    """The type as JAX's public stand-in for an array."""
    return jax.ShapeDtypeStruct(type.shape, to_jax_dtype(type.dtype), weak_type=type.weak)


def key_words(keys: Any) -> np.ndarray[Any, Any]:
    """The words of JAX's typed keys, along new last axes."""
    with eval_context():  # they may be captured while a function is recorded
        return np.asarray(jax.random.key_data(keys))
