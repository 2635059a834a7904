"""Pytrees as plain data: how a program's flat inputs and outputs nest, fit for text and files.

Tuples, lists, dicts and None are themselves, "*" is a leaf, "float0[3]" an array of that dtype. Any
other node is a dict: its type under "@", what else distinguishes it under "aux" (as text), its
parts under "children". Named tuples are found again by their type; other nodes, whose auxiliary
data text cannot hold, in this process only.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import jax

from ..ir.errors import UsageError
from .no_numbers import NoNumbers

Skeleton = Any
_TREES: Final[dict[str, Any]] = {}
"""By the text of a skeleton with other nodes: the tree that it was made from."""


def skeleton(tree: Any) -> Skeleton:
    """The skeleton of a jax.tree structure."""
    found, is_plain = _skeleton(tree)
    if not is_plain:
        _TREES[repr(found)] = tree
    return found


def _skeleton(tree: Any) -> tuple[Skeleton, bool]:
    """A skeleton, and whether it says all there is to say."""
    data = tree.node_data()
    if data is None:
        return ("*" if tree.num_leaves else None), True
    kind, aux = data
    parts = [_skeleton(child) for child in tree.children()]
    children, is_plain = [part for part, _ in parts], all(plain for _, plain in parts)
    if kind is dict and all(isinstance(k, str | int) for k in aux):
        return dict(zip(aux, children, strict=True)), is_plain
    if kind is tuple:
        return tuple(children), is_plain
    if kind is list:
        return children, is_plain
    if kind is type(None):
        return None, True
    if kind is NoNumbers:
        return f"float0{[*aux]}", True
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    node: dict[str, Any] = {"@": f"{kind.__module__}:{kind.__qualname__}"}
    if aux is not None and not named:
        node["aux"] = repr(aux)
    node["children"] = tuple(children)
    return node, is_plain and named


def tree_from(found: Skeleton) -> Any:
    """The jax.tree structure of a skeleton. Raises UsageError for nodes that are lost."""
    known = _TREES.get(repr(found))
    return known if known is not None else jax.tree.structure(_example(found))


def _example(found: Skeleton) -> Any:
    """A pytree of that structure."""
    if found is None or found == "*":
        return found
    if isinstance(found, str):
        return NoNumbers(tuple(map(int, re.findall(r"\d+", found.removeprefix("float0")))))
    if isinstance(found, tuple | list):
        return type(found)(_example(part) for part in found)
    if "@" not in found:
        return {key: _example(part) for key, part in found.items()}
    module, _, name = found["@"].partition(":")
    kind: Any = sys.modules.get(module)  # a program's text gets nothing imported
    for part in name.split("."):
        kind = getattr(kind, part, None)
    if kind is None or not hasattr(kind, "_fields"):
        raise UsageError(
            f"the program nests values in {found['@']}, which cannot be made again from text",
            hint="call it with flat arguments",
        )
    return kind(*map(_example, found["children"]))
