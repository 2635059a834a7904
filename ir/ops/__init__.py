"""The primitives, by family. Importing this package defines them all."""

from ..builder import install_shorthands
from . import (
    annotation,
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
    linear_call,
    ode,
    random,
    reduction,
    scaled,
    shape,
    sort,
    special,
    window,
)

__all__ = [
    "annotation",
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
    "linear_call",
    "ode",
    "random",
    "reduction",
    "scaled",
    "shape",
    "sort",
    "special",
    "window",
]

install_shorthands()
