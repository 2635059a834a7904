"""Where the lowerings of each family of primitives are: imported when one of them is asked for."""

from __future__ import annotations

import importlib
from typing import Final

from ..ir.primitive import Primitive

FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "annotation": ("annotation",),
    "call": ("call",),
    "collective": ("collective", "shard_map"),
    "contraction": ("contraction", "convolution"),
    "control": ("control",),
    "cumulative": ("cumulative", "recurrence"),
    "effect": ("effect",),
    "elementwise": ("conversion", "elementwise", "expansions"),
    "fft": ("fft",),
    "foreign": ("foreign",),
    "indexing": ("indexing",),
    "linalg": ("linalg",),
    "ode": ("ode",),
    "placement": ("placement",),
    "random": ("random",),
    "reduction": ("reduction",),
    "rewind": ("rewind",),
    "scaled": ("scaled",),
    "shape": ("shape",),
    "sort": ("sort",),
    "special": ("special",),
    "window": ("window",),
}
"""The files in `rules` that enter lowerings of a family's primitives."""


def load_lowerings(primitive: Primitive) -> None:
    """Enter the lowerings of the primitive's family in the tables."""
    for name in FAMILIES.get(primitive.family, ()):
        importlib.import_module(f".rules.{name}", __package__)
