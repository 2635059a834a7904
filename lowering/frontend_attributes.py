"""Frontend attributes: what is said to XLA of single operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jaxlib.mlir import ir

if TYPE_CHECKING:
    from .context import Context

ATTRIBUTES = "mhlo.frontend_attributes"


def annotate(ctx: Context, values: Sequence[Any], pairs: Iterable[tuple[str, str]]) -> None:
    """Add attributes to the operations that make values; the arguments of a block have none."""
    for value in values:
        owner = value.owner
        if isinstance(owner, ir.Block):
            continue
        attributes = owner.operation.attributes
        given = {key: ctx.attributes.text(text) for key, text in pairs}
        if ATTRIBUTES in attributes:
            there = ir.DictAttr(attributes[ATTRIBUTES])
            given |= {there[i].name: there[i].attr for i in range(len(there))}
        attributes[ATTRIBUTES] = ir.DictAttr.get(given, ctx.module.context)
