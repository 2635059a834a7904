"""The primitives, by family. Importing this package defines them all."""

from ..builder import install_shorthands
from . import call, elementwise

__all__ = ["call", "elementwise"]

install_shorthands()
