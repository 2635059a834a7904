"""The lowerings, by family. Importing this package enters them all."""

from ..tables import lower
from . import call, contraction, elementwise, indexing, shape

LOWERINGS = lower

__all__ = ["LOWERINGS", "call", "contraction", "elementwise", "indexing", "shape"]
