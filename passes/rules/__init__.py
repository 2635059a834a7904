"""How primitives transform: one file a family, all of its jvp, transpose and batch rules."""

from . import contraction, elementwise, indexing, scatter, shape

__all__ = ["contraction", "elementwise", "indexing", "scatter", "shape"]
