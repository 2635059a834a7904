"""Where the rules of each family of primitives are: imported when one of them is asked for.

A program that only passes through clean-up, or has a few kinds of operations, starts without the
rules of all others.
"""

from __future__ import annotations

import importlib
from typing import Final

from ..ir.primitive import Primitive

FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "annotation": ("annotation", "call", "custom"),
    "call": ("call", "checkpoint", "custom", "custom_vmap", "forward_call", "linear_call"),
    "collective": ("collective", "shard_map"),
    "contraction": ("contraction", "convolution", "ragged"),
    "control": (
        "cond",
        "cond_split",
        "linear_solve",
        "scan",
        "scan_split",
        "while_",
        "while_split",
    ),
    "cumulative": ("cumulative",),
    "effect": ("effect",),
    "elementwise": ("conversion", "elementwise"),
    "fft": ("fft",),
    "foreign": ("foreign",),
    "indexing": ("indexing", "scatter", "scatter_apply"),
    "linalg": ("linalg", "linalg_solves", "linalg_spectral"),
    "ode": ("ode", "ode_back", "ode_second"),
    "placement": ("placement",),
    "random": ("random",),
    "reduction": ("reduction",),
    "rewind": ("rewind",),
    "scaled": ("scaled",),
    "shape": ("shape",),
    "sort": ("sort",),
    "special": ("special",),
    "window": ("window", "window_folds"),
}
"""The files in `rules` that enter rules of a family's primitives."""


_entered: set[str] = set()
"""The files that are imported."""


def load_rules(primitive: Primitive) -> None:
    """Enter the rules of the primitive's family in the tables."""
    _enter(FAMILIES.get(primitive.family, ()))


def load_region_rules(primitive: Primitive) -> None:
    """`load_rules`, for tables that hold rules of primitives with regions only."""
    if primitive.has_regions:
        load_rules(primitive)


def load_all() -> None:
    """Enter the rules of every family, for whoever reads the tables whole."""
    for names in FAMILIES.values():
        _enter(names)


def all_loaded() -> bool:
    """Whether no family is left to be loaded."""
    return all(_entered.issuperset(names) for names in FAMILIES.values())


def _enter(names: tuple[str, ...]) -> None:
    for name in names:
        importlib.import_module(f".rules.{name}", __package__)
    _entered.update(names)
