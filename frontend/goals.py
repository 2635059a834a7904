"""What `optimize` asks of XLA; what it does to a program is in passes.outline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_LEVEL: Final = "xla_backend_optimization_level"


def goal_options(
    goal: str, platform: str, given: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """The compiler options for a goal, those given first.

    On CPUs LLVM optimises at its level 1 in place of 3, unless run time is the goal: by measuring,
    that compiles sooner, and what XLA hands to it runs as fast.
    """
    if goal == "run-time" or platform != "cpu":
        return given
    return {_LEVEL: 1, **(given or {})}
