"""The primitives, by family. Importing this package defines them all."""

from ..builder import install_shorthands
from . import (
    call,
    contraction,
    control,
    cumulative,
    effect,
    elementwise,
    fft,
    indexing,
    linalg,
    random,
    reduction,
    shape,
    sort,
    special,
    window,
)

__all__ = [
    "call",
    "contraction",
    "control",
    "cumulative",
    "effect",
    "elementwise",
    "fft",
    "indexing",
    "linalg",
    "random",
    "reduction",
    "shape",
    "sort",
    "special",
    "window",
]

install_shorthands()
