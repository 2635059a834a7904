"""Types of values: an array's shape and dtype, interned so that equality is identity.

dtypes are numpy's and ml_dtypes' own, plus `ExtendedDtype`s (typed random keys, tokens), which have
a name and nothing else that this layer needs to know.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

import ml_dtypes
import numpy as np


class ExtendedDtype:
    """A dtype that is not numpy's, known by name: `key<fry>` for typed keys, `token`."""

    __slots__ = ("name",)
    name: str
    kind: Final = "E"
    itemsize: Final = 0

    def __new__(cls, name: str) -> ExtendedDtype:
        return _extended(name)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[type[ExtendedDtype], tuple[str]]:
        return ExtendedDtype, (self.name,)


@cache
def _extended(name: str) -> ExtendedDtype:
    self = object.__new__(ExtendedDtype)
    self.name = name
    return self


Dtype = np.dtype[Any] | ExtendedDtype

_SHORT_NAMES: Final[dict[str, str]] = {
    "bool": "bool",
    "int2": "i2", "int4": "i4", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint2": "u2", "uint4": "u4", "uint8": "u8", "uint16": "u16", "uint32": "u32",
    "uint64": "u64",
    "float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64",
    "complex64": "c64", "complex128": "c128",
    "float4_e2m1fn": "f4_e2m1fn",
    "float8_e3m4": "f8_e3m4", "float8_e4m3": "f8_e4m3", "float8_e4m3b11fnuz": "f8_e4m3b11fnuz",
    "float8_e4m3fn": "f8_e4m3fn", "float8_e4m3fnuz": "f8_e4m3fnuz", "float8_e5m2": "f8_e5m2",
    "float8_e5m2fnuz": "f8_e5m2fnuz", "float8_e8m0fnu": "f8_e8m0fnu",
}  # fmt: skip


def _find_dtype(long_name: str) -> np.dtype[Any] | None:
    scalar = getattr(ml_dtypes, long_name, None)
    try:
        return np.dtype(scalar if scalar is not None else long_name)
    except TypeError:  # an ml_dtypes too old to know it
        return None


DTYPE_BY_NAME: Final[dict[str, Dtype]] = {
    short: found for long, short in _SHORT_NAMES.items() if (found := _find_dtype(long)) is not None
}
_NAME_BY_DTYPE: Final[dict[Dtype, str]] = {dtype: short for short, dtype in DTYPE_BY_NAME.items()}

BOOL: Final = np.dtype(np.bool_)
INT32: Final = np.dtype(np.int32)
FLOAT32: Final = np.dtype(np.float32)
TOKEN: Final = ExtendedDtype("token")


def dtype_name(dtype: Dtype) -> str:
    """The short name that the text uses: `f32`, `bf16`, `key<fry>`."""
    return _NAME_BY_DTYPE.get(dtype) or str(getattr(dtype, "name", dtype))


def dtype_from_name(name: str) -> Dtype:
    """The dtype of a short name. Raises KeyError for a name that is none."""
    found = DTYPE_BY_NAME.get(name)
    if found is None and (name == "token" or name.startswith("key<")):
        return ExtendedDtype(name)
    return DTYPE_BY_NAME[name] if found is None else found


@cache
def dtype_category(dtype: Dtype) -> str:
    """One of bool, int, uint, float, complex, extended."""
    if isinstance(dtype, ExtendedDtype):
        return "extended"
    kind = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}.get(dtype.kind)
    if kind is not None:
        return kind
    name = dtype.name  # ml_dtypes' own have kind V or f
    for prefix, category in (("uint", "uint"), ("int", "int")):
        if name.startswith(prefix):
            return category
    return "float"


def is_inexact(dtype: Dtype) -> bool:
    """Whether values of this dtype have tangents: floats and complex numbers."""
    return dtype_category(dtype) in ("float", "complex")


def is_complex(dtype: Dtype) -> bool:
    return dtype_category(dtype) == "complex"


@cache
def real_dtype(dtype: Dtype) -> Dtype:
    """The dtype of the parts of a complex number; others are their own."""
    if dtype.name == "complex64":
        return FLOAT32
    return np.dtype(np.float64) if dtype.name == "complex128" else dtype


@cache
def complex_dtype(dtype: Dtype) -> Dtype:
    """The complex dtype whose parts are of this one (complex64 for the small floats)."""
    return np.dtype(np.complex128 if dtype.name in ("float64", "complex128") else np.complex64)


class TensorType:
    """Shape and dtype of an array; `weak` marks dtypes that came from Python scalars, as in JAX.

    Interned: two types are equal exactly when they are the same object. `strong` is the same type
    without weakness, the one that operands and region inputs are compared by; `has_tangent` says
    whether such values can carry a nonzero tangent.
    """

    __slots__ = ("__weakref__", "dtype", "has_tangent", "shape", "strong", "text", "weak")
    shape: tuple[int, ...]
    dtype: Dtype
    weak: bool
    strong: TensorType
    has_tangent: bool
    text: str

    def __new__(cls, shape: tuple[int, ...], dtype: Any, weak: bool = False) -> TensorType:
        found = _types.get((shape, dtype, weak))
        return found if found is not None else _make_type(shape, dtype, weak)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array; sub-byte dtypes count as whole bytes, extended ones as none."""
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(shape, self.dtype, self.weak)

    def with_dtype(self, dtype: Dtype) -> TensorType:
        return TensorType(self.shape, dtype, self.weak)

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __reduce__(self) -> tuple[type[TensorType], tuple[Any, ...]]:
        return TensorType, (self.shape, self.dtype, self.weak)


_types: dict[tuple[tuple[int, ...], Any, bool], TensorType] = {}


def _make_type(shape: tuple[int, ...], dtype: Any, weak: bool) -> TensorType:
    if not isinstance(dtype, ExtendedDtype):
        dtype = np.dtype(dtype)
    plain_shape = tuple(int(n) for n in shape)
    key = (plain_shape, dtype, bool(weak))
    if key in _types:
        return _types[key]
    self = object.__new__(TensorType)
    self.shape, self.dtype, self.weak = key
    self.text = f"{'~' if weak else ''}{dtype_name(dtype)}[{','.join(map(str, plain_shape))}]"
    self.has_tangent = is_inexact(dtype)
    self.strong = TensorType(plain_shape, dtype) if weak else self
    return _types.setdefault(key, self)


def scalar_type(dtype: Any, weak: bool = False) -> TensorType:
    return TensorType((), dtype, weak)


def has_tangent(type: TensorType) -> bool:
    """Whether values of this type can carry a nonzero tangent."""
    return type.has_tangent
