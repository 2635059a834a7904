"""Loops, branches and calls of JAX's lowerings that hand on the tokens of ordered effects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.errors import CovectorError
from ..ir.graph import Graph
from ..ir.types import TensorType
from . import borrow
from .context import Body, Context, MlirValue
from .host import TOKEN_TYPE, effects_of_graphs


def loop(
    ctx: Context,
    types: Sequence[TensorType],
    start: Sequence[MlirValue],
    proceeds: Body,
    body: Body,
    graphs: Sequence[Graph],
) -> list[MlirValue]:
    """`while proceeds(values): values = body(values)`. The tokens of the ordered effects of
    `graphs`, which the body runs, go around with the values."""
    effects = effects_of_graphs(graphs)
    host, all_types = ctx.host, [*(TOKEN_TYPE for _ in effects), *types]

    def step(values: Sequence[MlirValue]) -> Sequence[MlirValue]:
        results = body(host.take(effects, values))
        return [*host.give(effects), *results]

    def test(values: Sequence[MlirValue]) -> Sequence[MlirValue]:
        return proceeds(values[len(effects) :])

    start = [*host.give(effects), *start]
    regions = [(all_types, test), (all_types, step)]
    return host.take(effects, ctx.ops("stablehlo.while", all_types, start, regions))


def branch(
    ctx: Context,
    types: Sequence[TensorType],
    index: MlirValue,
    branches: Sequence[tuple[Graph, Body]],
) -> list[MlirValue]:
    """The results of the branch of this number, which takes no arguments."""
    effects = effects_of_graphs([graph for graph, _ in branches])
    host, all_types = ctx.host, [*(TOKEN_TYPE for _ in effects), *types]
    before = host.give(effects)

    def region(body: Body) -> tuple[Sequence[TensorType], Body]:
        def fill(values: Sequence[MlirValue]) -> Sequence[MlirValue]:
            host.take(effects, before)
            results = body(values)
            return [*host.give(effects), *results]

        return (), fill

    regions = [region(body) for _, body in branches]
    return host.take(effects, ctx.ops("stablehlo.case", all_types, (index,), regions))


def borrow_with_host(
    ctx: Context,
    primitive: Any,
    inputs: Sequence[TensorType],
    outputs: Sequence[TensorType],
    operands: Sequence[MlirValue],
    params: dict[str, Any],
    key: Any,
    ordered: Sequence[str] = (),
) -> list[MlirValue]:
    """As `borrow`, for a primitive that may call back into this process.

    `key` tells it apart from others; `ordered` are the names of its ordered effects.
    """
    ctx.is_on(ctx.platforms[0])
    host = ctx.host
    name = ctx.borrowed.get((primitive, key))
    if name is None:
        types = tuple([t.strong for t in inputs])
        made = borrow.lower_with_host_parts(primitive, types, params, ctx.platforms)
        if len(made[1].ordered_effects) != len(ordered):
            raise CovectorError(
                f"{primitive} has ordered effects that covector does not know",
                ctx.equation,
                stage="lowering",
            )
        name = ctx.merge(host.add(*made, ordered), {"main": str(primitive)})["main"]
        ctx.borrowed[primitive, key] = name
    types_out = [ctx.types[t] for t in (*(TOKEN_TYPE for _ in ordered), *outputs)]
    results = ctx.call_symbol(name, types_out, [*host.give(ordered), *operands])
    return host.take(ordered, results)
