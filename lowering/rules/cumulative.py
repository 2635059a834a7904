"""Cumulative operations: each element reduces a window that ends at it.

XLA recognises the pattern and makes a tree of it; on CPUs a loop is faster (prefixes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Value
from ...ir.ops import cumulative as ops
from ...ir.primitive import Primitive
from ...ir.types import TensorType, is_complex
from .. import monoids
from ..context import Context, MlirValue
from ..monoids import Monoid
from ..narrow import in_bytes
from ..tables import lower
from .prefixes import prefixes
from .window import reduce_window

Operands = Sequence[MlirValue]


def _logaddexp(b: Builder, x: Any, y: Any) -> Any:
    """log(e^x + e^y) = m + log(1 + e^-|x - y|), m the larger one."""
    larger = b.max(x, y)
    if is_complex(x.type.dtype):
        shifted = b.sub(b.add(x, y), b.mul(larger, 2))
        z = b.add(larger, b.log1p(b.exp(shifted)))
        return b.complex(b.real(z), _wrap(b, b.imag(z)))
    distance = b.sub(x, y)
    result = b.add(larger, b.log1p(b.exp(b.neg(b.abs(distance)))))
    # NaN: an operand is, or both are the same infinity
    return b.select_n(b.ne(distance, distance), result, b.add(x, y))


def _wrap(b: Builder, angle: Any) -> Any:
    """The angle in [-pi, pi) that differs by whole turns."""
    turn = 2 * math.pi
    rest = b.rem(b.add(angle, math.pi), turn)
    positive = b.select_n(b.lt(rest, 0), rest, b.add(rest, turn))
    return b.sub(positive, math.pi)


def _combine_logaddexp(ctx: Context, type: TensorType, x: MlirValue, y: MlirValue) -> MlirValue:
    graph = ctx.expansions.get(("logaddexp", type))
    if graph is None:
        graph = ctx.expansions["logaddexp", type] = _logaddexp_graph(type)
    (result,) = ctx.write(graph, (x, y), is_expansion=True)
    return result


def _logaddexp_graph(type: TensorType) -> Graph:
    b = Builder()
    x, y = Value(type), Value(type)
    return b.graph((x, y), (_logaddexp(b, x, y),), "logaddexp")


MONOIDS: Final[dict[Primitive, Monoid]] = {
    ops.cumsum: monoids.ADD,
    ops.cumprod: monoids.MUL,
    ops.cummax: monoids.MAX,
    ops.cummin: monoids.MIN,
    ops.cumlogsumexp: Monoid(_combine_logaddexp, lambda dtype: -np.inf),
}


SHORT: Final = 8
SHORT_ALONE: Final = 32
SMALL: Final = 8192
"""Windows that XLA combines as fast as a loop does, and compiles sooner: of so few elements, or of
that many with few lanes beside them; and of arrays so small that would be transposed first."""


@lower.rule(*MONOIDS)
def lower_cumulative(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    type, axis, reverse = eqn.outputs[0].type, eqn.params["axis"], eqn.params["reverse"]
    n = type.shape[axis]
    if n == 0:
        return operands
    if eqn.primitive is ops.cumsum and ctx.is_on("gpu"):
        # there are kernels for it, which some of the JAX versions can name
        return ctx.borrow("cumsum", (type,), (type,), operands, axis=axis, reverse=reverse)
    if ctx.platforms == ("cpu",) and _is_worth_a_loop(eqn.primitive, type, axis):
        adds_up = eqn.primitive in (ops.cumsum, ops.cumlogsumexp)
        monoid = MONOIDS[eqn.primitive]
        return [prefixes(ctx, monoid, operands[0], type, axis, reverse, adds_up)]
    window = [1] * len(type.shape)
    padding = [(0, 0)] * len(type.shape)
    window[axis] = n
    padding[axis] = (0, n - 1) if reverse else (n - 1, 0)
    params = {"window_dimensions": window, "padding": padding}
    return reduce_window(ctx, MONOIDS[eqn.primitive], operands[0], type, params)


def _is_worth_a_loop(primitive: Primitive, type: TensorType, axis: int) -> bool:
    """Whether there is more to do than to go around a loop, and to transpose the array for it."""
    n, is_transposed = type.shape[axis], math.prod(type.shape[:axis]) > 1
    if in_bytes(type) is not type or n < 2 or not type.size:
        return False
    if primitive is ops.cumlogsumexp:  # whose every step takes long
        return True
    is_short = n < SHORT or (n <= SHORT_ALONE and type.size < SHORT_ALONE * n)
    return not is_short and not (is_transposed and type.size < SMALL)
