"""What a program needs of the process that runs it: Python functions that it calls back, and tokens
that keep its ordered effects in order.

JAX's lowering of a callback calls it by its number in the list that the executable is given; here
several modules are merged, so the numbers are shifted as each is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from jaxlib.mlir import ir

from ..ir.graph import Graph
from ..ir.ops.effect import ORDERED
from ..ir.types import TOKEN, TensorType
from .jax_compat import HostParts, parse_module

TOKEN_TYPE: Final = TensorType((), TOKEN)


def ordered_effects(effects: Iterable[str]) -> tuple[str, ...]:
    """Those that happen in order, as their tokens are listed."""
    found = frozenset(effects)
    return tuple(name for name in ORDERED if name in found)


def effects_of_graphs(graphs: Iterable[Graph]) -> tuple[str, ...]:
    return ordered_effects(name for graph in graphs for name in graph.effects)


class Host:
    """The callbacks of the module being made, and the tokens at the current point of it."""

    def __init__(self) -> None:
        self.tokens: dict[str, Any] = {}
        self.ordered: dict[str, Any] = {}
        self.unordered: dict[str, Any] = {}
        self.callbacks: list[Any] = []
        self.keepalive: list[Any] = []

    def take(self, names: Sequence[str], values: Sequence[Any]) -> list[Any]:
        """Make the leading values the tokens from here on; the values that are left."""
        self.tokens.update(zip(names, values, strict=False))
        return list(values[len(names) :])

    def give(self, names: Sequence[str]) -> list[Any]:
        """The tokens of these effects."""
        return [self.tokens[name] for name in names]

    def add(self, source: bytes, parts: HostParts, ordered: Sequence[str]) -> bytes:
        """Take over what a module that is to be merged needs; the module, with its callbacks
        numbered as they are here. `ordered` are our names of its ordered effects."""
        first = len(self.callbacks)
        self.callbacks += parts.callbacks
        self.keepalive += parts.keepalive
        self.ordered.update(zip(ordered, parts.ordered_effects, strict=True))
        self.unordered.update((str(effect), effect) for effect in parts.unordered_effects)
        if not first or not parts.callbacks:
            return source
        module = parse_module(source)
        for op in _operations(module.operation):
            if op.name == "stablehlo.custom_call":
                _shift_number(op, first)
        with module.context:
            return str(module.operation.get_asm(enable_debug_info=False)).encode()

    def parts(self) -> HostParts:
        """What the executable is to be given."""
        ordered = tuple(self.ordered[name] for name in ORDERED if name in self.ordered)
        unordered = tuple(self.unordered.values())
        return HostParts(ordered, unordered, tuple(self.callbacks), tuple(self.keepalive))


def _operations(op: Any) -> Iterator[Any]:
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from _operations(inner.operation)


def _shift_number(op: Any, by: int) -> None:
    """Add to the number of the Python function that a custom call calls, if it calls one."""
    target = op.attributes["call_target_name"].value
    if not (target.startswith("xla_ffi") and target.endswith("_callback")):
        return
    config = {item.name: item.attr for item in op.attributes["mhlo.backend_config"]}
    index = config["index"]
    with op.context:
        config["index"] = ir.IntegerAttr.get(index.type, index.value + by)
        op.attributes["mhlo.backend_config"] = ir.DictAttr.get(config)
