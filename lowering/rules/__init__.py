"""The lowerings, by family. Importing this package enters them all."""

from ..tables import lower
from . import (
    call,
    contraction,
    control,
    cumulative,
    elementwise,
    indexing,
    reduction,
    shape,
    sort,
)

LOWERINGS = lower

__all__ = [
    "LOWERINGS",
    "call",
    "contraction",
    "control",
    "cumulative",
    "elementwise",
    "indexing",
    "reduction",
    "shape",
    "sort",
]
