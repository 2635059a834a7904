"""The primitives, by family. Importing this package defines them all."""

from ..builder import install_shorthands
from . import call, contraction, elementwise, indexing, shape

__all__ = ["call", "contraction", "elementwise", "indexing", "shape"]

install_shorthands()
