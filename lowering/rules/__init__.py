"""The lowerings, by family. Importing this package enters them all."""

from ..tables import lower
from . import (
    annotation,
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
    scaled,
    shape,
    sort,
    special,
    window,
)

LOWERINGS = lower

__all__ = [
    "LOWERINGS",
    "annotation",
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
    "scaled",
    "shape",
    "sort",
    "special",
    "window",
]
