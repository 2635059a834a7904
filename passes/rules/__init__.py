"""How primitives transform: one file a family, all of its jvp, transpose and batch rules.

Region primitives have one file each, and another for their partial evaluation where it is long.
"""

from . import (
    call,
    checkpoint,
    cond,
    cond_split,
    contraction,
    conversion,
    convolution,
    cumulative,
    custom,
    elementwise,
    indexing,
    linear_solve,
    reduction,
    scan,
    scan_split,
    scatter,
    shape,
    sort,
    special,
    while_,
    window,
)

__all__ = [
    "call",
    "checkpoint",
    "cond",
    "cond_split",
    "contraction",
    "conversion",
    "convolution",
    "cumulative",
    "custom",
    "elementwise",
    "indexing",
    "linear_solve",
    "reduction",
    "scan",
    "scan_split",
    "scatter",
    "shape",
    "sort",
    "special",
    "while_",
    "window",
]
