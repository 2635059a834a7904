"""Directional derivatives of a program by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.graph import Graph

Arrays = Sequence[Any]


@dataclass(frozen=True)
class Estimate:
    """Estimates of one tangent with steps of different lengths.

    An element counts with the estimate that agrees best: a long step may straddle a kink, a short
    one drowns in rounding. `noise` is the size below which differences mean nothing.
    """

    values: tuple[Any, ...]
    noise: float

    def error_of(self, tangent: Any) -> float:
        """The largest distance of an element from its estimates, relative to the largest one."""
        tangent = np.asarray(tangent)
        if any(tangent.shape != np.shape(v) for v in self.values):
            return float("inf")
        with np.errstate(all="ignore"):
            gaps = [
                np.where(np.isnan(tangent) & np.isnan(v), 0.0, np.abs(tangent - v))
                for v in self.values
            ]
            gap = np.min(np.stack([np.where(np.isnan(g), np.inf, g) for g in gaps]), axis=0)
            sizes = np.abs(np.stack([tangent, *self.values]))
            scale = float(np.max(sizes[np.isfinite(sizes)], initial=0.0))
            return float(np.max(gap, initial=0.0)) / max(scale, self.noise, 1e-300)


def derivative(
    run: Callable[[Graph, Arrays], Arrays],
    graph: Graph,
    arrays: Arrays,
    flags: Sequence[bool],
    tangents: Arrays,
) -> list[Estimate]:
    """The derivative of each output along tangents of the flagged inputs.

    Five-point differences: the error of step h is of order h^4, or eps/h from rounding.
    """
    steps = (1e-3, 1e-5) if _is_double(arrays) else (5e-2, 1e-2)
    values = [_differences(run, graph, arrays, flags, tangents, h) for h in steps]
    sizes = [np.abs(np.asarray(y)) for y in run(graph, arrays)]
    with np.errstate(all="ignore"):
        noise = [float(np.max(s[np.isfinite(s)], initial=0.0)) * 1e-6 for s in sizes]
    return [Estimate(column, n) for column, n in zip(zip(*values, strict=True), noise, strict=True)]


def _differences(
    run: Callable[[Graph, Arrays], Arrays],
    graph: Graph,
    arrays: Arrays,
    flags: Sequence[bool],
    tangents: Arrays,
    h: float,
) -> list[Any]:
    def shifted(k: int) -> list[Any]:
        rest = iter(tangents)
        moved = [
            np.asarray(x + k * h * next(rest)).astype(np.asarray(x).dtype) if flag else x
            for x, flag in zip(arrays, flags, strict=True)
        ]
        return [_number(y) for y in run(graph, moved)]

    far, near, near_, far_ = (shifted(k) for k in (2, 1, -1, -2))
    with np.errstate(all="ignore"):
        return [
            (8 * (b - c) - (a - d)) / (12 * h)
            for a, b, c, d in zip(far, near, near_, far_, strict=True)
        ]


def _number(y: Any) -> Any:
    """An output as floats: integers and booleans have derivatives that nobody compares."""
    y = np.asarray(y)
    return y if y.dtype.kind in "fc" else y.astype(np.float64)


def _is_double(arrays: Arrays) -> bool:
    kinds = [np.asarray(x).dtype for x in arrays]
    return all(d.itemsize // (2 if d.kind == "c" else 1) >= 8 for d in kinds if d.kind in "fcV")
