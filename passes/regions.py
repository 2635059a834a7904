"""Equations that hold graphs: transforming those graphs in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir.graph import Equation, Graph


def with_regions(eqn: Equation, change: Callable[[Graph], Graph]) -> Equation:
    """The equation with each of its graphs changed; the same one if none is."""
    params = {key: _changed(value, change) for key, value in eqn.params.items()}
    if all(params[key] is value for key, value in eqn.params.items()):
        return eqn
    return eqn.replace(params=params)


def _changed(value: Any, change: Callable[[Graph], Graph]) -> Any:
    if isinstance(value, Graph):
        return change(value)
    if isinstance(value, tuple) and any(isinstance(item, Graph) for item in value):
        items = tuple(_changed(item, change) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value
