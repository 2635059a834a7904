"""The primitives, by family. Importing this package defines them all."""

from ..builder import install_shorthands
from . import (
    call,
    collective,
    contraction,
    control,
    cumulative,
    effect,
    elementwise,
    fft,
    foreign,
    indexing,
    linalg,
    linalg_spectral,
    random,
    reduction,
    shape,
    sort,
    special,
    window,
)

__all__ = [
    "call",
    "collective",
    "contraction",
    "control",
    "cumulative",
    "effect",
    "elementwise",
    "fft",
    "foreign",
    "indexing",
    "linalg",
    "linalg_spectral",
    "random",
    "reduction",
    "shape",
    "sort",
    "special",
    "window",
]

install_shorthands()
