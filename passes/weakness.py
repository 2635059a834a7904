"""How weakly typed slopes are where the versions of JAX differ: as in the one that is installed.

A slope is what a rule multiplies a tangent by; the product is weakly typed where both are. JAX's
rules have been rewritten one by one, and with them changed which of their constants are typed.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from ..ir.builder import Builder, Operand
from ..ir.ops import elementwise as e
from ..ir.ops import special as s
from ..ir.primitive import Primitive
from ..ir.types import TensorType
from ..ir.versions import Version, installed


class Weak(Enum):
    """Which slopes are weakly typed, of those in weakly typed operands."""

    ALL = "all"
    SCALAR = "those of rank 0"
    NONE = "none"


SLOPES: Final[dict[Primitive, tuple[Weak, Version, Weak]]] = {
    e.asin: (Weak.SCALAR, (0, 11, 2), Weak.ALL),
    e.acos: (Weak.SCALAR, (0, 11, 2), Weak.ALL),
    e.max_: (Weak.ALL, (0, 11, 2), Weak.NONE),
    e.min_: (Weak.ALL, (0, 11, 2), Weak.NONE),
    e.asinh: (Weak.ALL, (0, 12), Weak.SCALAR),
    s.erf: (Weak.SCALAR, (0, 12), Weak.NONE),
    s.erfc: (Weak.SCALAR, (0, 12), Weak.NONE),
}
"""What JAX had, until which version, and what it has had since."""


def is_slope_weak(primitive: Primitive, type: TensorType) -> bool:
    """Whether the slope is weakly typed where the formula for it is of this type. Where JAX is not
    installed, as in its newest version."""
    before, since, after = SLOPES[primitive]
    version = installed("jax")
    which = before if version is not None and version < since else after
    return type.weak and (which is Weak.ALL or (which is Weak.SCALAR and not type.shape))


def typed_slope(b: Builder, primitive: Primitive, x: Operand) -> Operand:
    """x, typed as the slope of a primitive is."""
    converted: Operand = b.convert(x, x.type.dtype, is_slope_weak(primitive, x.type))
    return converted
