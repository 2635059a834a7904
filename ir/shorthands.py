"""A method of the builder for each primitive: `b.sin(x)`, `b.reduce_sum(x, axes=(0,))`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .builder import Builder, Operand
from .primitive import PRIMITIVES, Primitive


def _shorthand(primitive: Primitive) -> Callable[..., Any]:
    names, unnamed = primitive.param_names, primitive.unnamed

    def emit(self: Builder, *inputs: Operand, **params: Any) -> Any:
        if not params and unnamed is not None:
            params = unnamed
        elif tuple(params) != names:
            params = self.complete(primitive, inputs, params)
        outputs = self.emit_complete(primitive, inputs, params)
        return outputs[0] if len(outputs) == 1 else outputs

    emit.__name__ = primitive.name
    return emit


def install_shorthands() -> None:
    """Give the builder a method for each primitive. Called once the families are defined."""
    for name, primitive in PRIMITIVES.items():
        if not hasattr(Builder, name):
            setattr(Builder, name, _shorthand(primitive))
