"""How large an error is: beside the tolerance of each number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..builder import Builder
from ..types import Dtype, real_dtype
from .arithmetic import State, along, filled, squares, sum_lanes, total


@dataclass(frozen=True)
class Scale:
    """Tolerances of the leaves of a state.

    weights: for each leaf how much of `atol` it is allowed (a number for each lane, or a float), or
      None for a leaf whose error is not looked at.
    """

    rtol: float
    atol: float
    weights: Sequence[Any]
    lanes: tuple[int, ...]
    dtype: Dtype

    def tolerance(self, b: Builder, weight: Any, *states: Any) -> Any:
        """atol w + rtol |y|, with the larger |y| of two states."""
        size = b.abs(states[0])
        for x in states[1:]:
            size = b.max(size, b.abs(x))
        size = b.mul(size, self.rtol)
        if isinstance(weight, float):
            return b.add(size, float(self.atol) * weight)
        part = b.mul(b.convert(weight, size.type.dtype), self.atol)
        return b.add(size, along(b, part, size))

    def norms(self, b: Builder, xs: State, *states: State, mean: bool = False) -> Any:
        """|x / tolerance| over the leaves that count: root of the sum or the mean of squares."""
        n, parts, count = len(self.lanes), [], 0
        for i, (x, weight) in enumerate(zip(xs, self.weights, strict=True)):
            if weight is None or x is None:
                continue
            tolerance = self.tolerance(b, weight, *(s[i] for s in states))
            if real_dtype(x.type.dtype) is x.type.dtype:
                ratio = squares(b, b.div(x, tolerance))
            else:
                ratio = b.div(squares(b, x), b.mul(tolerance, tolerance))
            parts.append(sum_lanes(b, ratio, n, self.dtype))
            count += prod(x.type.shape[n:])
        if not parts:
            return filled(b, self.lanes, self.dtype, 0.0)
        return b.sqrt(b.div(total(b, parts), float(max(count, 1))) if mean else total(b, parts))
