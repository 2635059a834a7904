"""Nested values as the carry of a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def packed(tree: Any) -> tuple[list[Any], Any]:
    """The atoms of nested lists and tuples, and the function that nests others likewise."""
    flat: list[Any] = []

    def walk(x: Any) -> Any:
        if isinstance(x, (tuple, list)):
            return [walk(y) for y in x]
        flat.append(x)
        return len(flat) - 1

    shape = walk(tree)

    def unpack(values: Sequence[Any]) -> Any:
        def build(shape: Any, like: Any) -> Any:
            if not isinstance(shape, list):
                return values[shape]
            items = [build(s, x) for s, x in zip(shape, like, strict=True)]
            if isinstance(like, list):
                return items
            return type(like)(*items) if hasattr(like, "_fields") else tuple(items)

        return build(shape, tree)

    return flat, unpack
