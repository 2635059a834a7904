"""The contents of captured arrays: their bytes, their digest, and arrays made from bytes again."""

from __future__ import annotations

import itertools
from typing import Any, NoReturn

import numpy as np

from .errors import InterpretError
from .graph import Constant
from .syntax import quote_name, read_scalar, scalar_text
from .types import ExtendedDtype, TensorType, dtype_category, dtype_name

_serial = itertools.count()


class Elided:
    """Stands for contents that the text left out: has a type, raises when they are asked for."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, type: TensorType, name: str) -> None:
        self.shape = type.shape
        self.dtype = type.dtype
        self.name = name

    def __array__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise InterpretError(
            f"the contents of ${quote_name(self.name)} were elided from the text",
            hint="print with elide_constants=False, or save the module to a .cvir file",
        )


def has_contents(constant: Constant) -> bool:
    """Whether the bytes can be written: not for elided ones, nor for extended dtypes."""
    return not (
        isinstance(constant.array, Elided) or isinstance(constant.type.dtype, ExtendedDtype)
    )


def contents(constant: Constant) -> np.ndarray[Any, Any]:
    """The array, C-contiguous, in the dtype of the constant's type and native byte order."""
    array = np.asarray(constant.array)
    if array.shape != constant.type.shape:
        raise InterpretError(
            f"${quote_name(constant.name)} has type {constant.type}, "
            f"but holds an array of shape {array.shape}"
        )
    dtype: Any = constant.type.dtype
    held: np.ndarray[Any, Any] = np.asarray(array, dtype=dtype, order="C")
    return held


def little_endian(array: np.ndarray[Any, Any]) -> memoryview:
    """The bytes of a contiguous array as files and text keep them, uncopied where they can be."""
    swapped = array if array.dtype.str[:1] != ">" else array.astype(array.dtype.newbyteorder("<"))
    flat: Any = swapped.reshape(-1).view(np.uint8)
    return memoryview(flat)


def from_little_endian(raw: Any, type: TensorType) -> np.ndarray[Any, Any]:
    """The array of a type whose bytes are `raw`, as a view. Raises ValueError if they are not."""
    dtype: Any = type.dtype
    if isinstance(dtype, ExtendedDtype):
        raise ValueError(f"arrays of {dtype_name(dtype)} have no bytes")
    if len(raw) != type.nbytes:
        raise ValueError(f"{type} takes {type.nbytes} bytes, not {len(raw)}")
    if dtype.itemsize > 1 and np.little_endian is False:
        flat = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype)
    else:
        flat = np.frombuffer(raw, dtype) if len(raw) else np.empty(0, dtype)
    if dtype.itemsize == 1 and not _is_canonical(flat, dtype):
        raise ValueError(f"some bytes are not values of {dtype_name(dtype)}")
    return flat.reshape(type.shape)


def _is_canonical(flat: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether each byte is one that a value of this dtype has; only some dtypes fill a byte."""
    if dtype_category(dtype) == "bool":
        return bool((flat.view(np.uint8) <= 1).all())
    bits = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4}.get(dtype.name)
    if bits is None:
        return True
    through = flat.astype(np.float32).astype(dtype)
    return through.tobytes() == flat.tobytes()


def reads_back(array: np.ndarray[Any, Any]) -> bool:
    """Whether all elements have a text of their own: NaNs with a payload have not."""
    scalars = [array[index] for index in np.ndindex(array.shape)]
    scalars = [np.asarray(x, dtype=array.dtype) for x in scalars]
    return all(read_scalar(scalar_text(x), x.dtype).tobytes() == x.tobytes() for x in scalars)


def same_contents(a: Constant, b: Constant) -> bool:
    """Whether two constants hold the same bits (or were both elided) of the same type."""
    if a.type is not b.type:
        return False
    if a.array is b.array:
        return True
    if not (has_contents(a) and has_contents(b)):
        return isinstance(a.array, Elided) and isinstance(b.array, Elided)
    return np.array_equal(little_endian(contents(a)), little_endian(contents(b)))


def digest(constant: Constant) -> str:
    """A digest of the contents, computed once for each constant.

    Stable across processes, except for extended dtypes: their contents cannot be read here, so
    that each such constant has a digest of its own.
    """
    if constant.digest is None:
        import hashlib

        hasher = hashlib.blake2b(constant.type.text.encode(), digest_size=16)
        if has_contents(constant):
            hasher.update(little_endian(contents(constant)))
        elif not isinstance(constant.array, Elided):
            hasher.update(str(next(_serial)).encode())
        constant.digest = hasher.hexdigest()
    return constant.digest
