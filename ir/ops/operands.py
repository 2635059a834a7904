"""What type rules ask of operands: categories of dtypes, one dtype, shapes that broadcast."""

from __future__ import annotations

from typing import Final

from ..errors import TypeRuleError
from ..primitive import Types
from ..types import Dtype, dtype_category, dtype_name

INTEGER: Final = frozenset({"int", "uint"})
FLOAT: Final = frozenset({"float"})
COMPLEX: Final = frozenset({"complex"})
INEXACT: Final = FLOAT | COMPLEX
NUMBER: Final = INTEGER | INEXACT
SIGNED: Final = frozenset({"int"}) | INEXACT
BITS: Final = INTEGER | {"bool"}
ORDERED: Final = INTEGER | FLOAT | {"bool"}
ANY: Final = NUMBER | {"bool", "extended"}

DISCRETE: Final = "its results are not real numbers"
"""Why comparisons, indices and bits have no derivative."""


def broadcast_shapes(name: str, types: Types) -> tuple[int, ...]:
    """The common shape of elementwise operands. Raises TypeRuleError."""
    shape = types[0].shape
    for t in types:
        if t.shape != shape:
            break
    else:
        return shape
    shapes = [t.shape for t in types if t.shape]
    if len({len(s) for s in shapes}) != 1:
        raise TypeRuleError(f"{name} takes operands of one rank, or scalars; got {shapes}")
    result = []
    for lengths in zip(*shapes, strict=True):
        longer = {n for n in lengths if n != 1}
        if len(longer) > 1:
            raise TypeRuleError(f"{name} cannot broadcast the shapes {shapes} together")
        result.append(longer.pop() if longer else 1)
    return tuple(result)


def same_dtype(name: str, types: Types) -> Dtype:
    """The one dtype of all operands. Raises TypeRuleError."""
    dtype = types[0].dtype
    for t in types:
        if t.dtype != dtype:
            got = ", ".join(dtype_name(t.dtype) for t in types)
            raise TypeRuleError(
                f"{name} takes operands of one dtype; got {got}",
                hint="convert them first with convert_element_type",
            )
    return dtype


def accept(name: str, dtype: Dtype, accepted: frozenset[str]) -> None:
    """Raise TypeRuleError unless dtype is of an accepted category."""
    if dtype_category(dtype) not in accepted:
        raise TypeRuleError(
            f"{name} does not take {dtype_name(dtype)}; it takes {', '.join(sorted(accepted))}"
        )


def all_weak(types: Types) -> bool:
    return False not in [t.weak for t in types]


def bit_width(dtype: Dtype) -> int:
    """Bits of one element: of int4 too, whose elements take a byte of memory each."""
    digits = dtype.name.removeprefix("u").removeprefix("int")
    return int(digits) if digits in ("2", "4") else 8 * dtype.itemsize
