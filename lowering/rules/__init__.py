"""The lowerings, by family. Importing this package enters them all."""

from ..tables import lower
from . import (
    call,
    collective,
    contraction,
    control,
    conversion,
    cumulative,
    effect,
    elementwise,
    expansions,
    fft,
    foreign,
    indexing,
    linalg,
    random,
    reduction,
    shape,
    sort,
    special,
    window,
)

LOWERINGS = lower

__all__ = [
    "LOWERINGS",
    "call",
    "collective",
    "contraction",
    "control",
    "conversion",
    "cumulative",
    "effect",
    "elementwise",
    "expansions",
    "fft",
    "foreign",
    "indexing",
    "linalg",
    "random",
    "reduction",
    "shape",
    "sort",
    "special",
    "window",
]
