"""One pass tried on numbers: what goes in, what is found, how numbers are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.graph import Graph
from ..ir.module import Module
from ..ir.types import TensorType
from ..passes.base import Pass
from ..passes.wrt import select_inputs
from .data import random_array

Arrays = Sequence[Any]
Run = Callable[[Graph, Arrays], Arrays]


@dataclass(frozen=True)
class Finding:
    """How far one output is from what the law says, relative to its largest element.

    `index` is its position among the outputs of the graph, None for what is no output; `note` says
    what that is.
    """

    graph: str
    index: int | None
    error: float
    tolerance: float
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # false for NaN


@dataclass(frozen=True)
class Trial:
    """A pass, the programs before and after it, and arrays for the entry of the one before.

    `narrow` is the program before as it was given to the pass, `before` and `after` may have wider
    types. `exact` is the tolerance for what both programs compute alike (constants were folded in
    the narrow types), `close` for finite differences.
    """

    step: Pass
    narrow: Module
    before: Module
    after: Module
    arrays: Arrays
    run: Run
    random: np.random.Generator
    exact: float = 1e-6
    close: float = 1e-5

    def flags(self) -> tuple[bool, ...]:
        """Which inputs of the entry the pass differentiates."""
        return select_inputs(self.before, getattr(self.step, "wrt", None), self.step.name)

    def direction(self, type: TensorType) -> Any:
        return random_array(type, self.random)

    def compare(self, graph: Graph, got: Arrays, want: Arrays, first: int = 0) -> list[Finding]:
        """Findings about outputs of a graph, from number `first` on, that should be equal."""
        return [
            Finding(graph.name, first + i, difference(a, b), self.exact)
            for i, (a, b) in enumerate(zip(got, want, strict=True))
        ]


def difference(a: Any, b: Any, floor: float = 1e-300) -> float:
    """The largest |a - b|, relative to the largest finite |a| or |b|.

    Equal infinities agree, and so do NaNs in the same places.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind not in "fc" or b.dtype.kind not in "fc":
        kinds = {a.dtype.kind, b.dtype.kind} & set("OV")  # keys, small floats
        a, b = (a, b) if kinds == {"O"} else (a.astype(np.complex128), b.astype(np.complex128))
    if a.dtype == object:
        return 0.0 if np.array_equal(a, b) else float("inf")
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gap = np.where(same, 0.0, np.abs(a - b))
        sizes = np.concatenate([np.abs(a).ravel(), np.abs(b).ravel()])
        scale = max(float(np.max(sizes[np.isfinite(sizes)], initial=0.0)), floor)
        worst = float(np.max(gap, initial=0.0))
    return float("inf") if not np.isfinite(worst) else worst / scale


def miscounted(graph: Graph, note: str) -> list[Finding]:
    """A graph returns more or fewer values than the law speaks of."""
    return [Finding(graph.name, None, float("inf"), 0.0, note)]


def pairing(a: Arrays, b: Arrays) -> float:
    """<a, b>: the real part of the sum of products, JAX's pairing of tangents and cotangents."""
    with np.errstate(all="ignore"):
        return float(sum(np.real(np.sum(np.asarray(x) * y)) for x, y in zip(a, b, strict=True)))


def noise(a: Arrays, b: Arrays) -> float:
    """The size of the terms that an inner product adds up: cancellation is no error."""
    with np.errstate(all="ignore"):
        total = sum(float(np.sum(np.abs(np.asarray(x) * y))) for x, y in zip(a, b, strict=True))
    return max(total, 1e-300) if np.isfinite(total) else 1e-300
