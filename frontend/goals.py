"""What `optimize` does to a program, and asks of XLA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..ir.errors import UsageError, did_you_mean
from ..ir.fusion import is_fusible
from ..ir.graph import Graph
from ..lowering.borders import borders_of
from ..passes.outline import SHORTEST, outline_graph

if TYPE_CHECKING:
    from ..passes.blocks.choose import Block

GOALS: Final = ("run-time", "balanced", "compile-time")
"""What a program may be compiled for. `run-time`: it stays as it is. `compile-time`: repeated
blocks become functions. `balanced`: they do in programs that consist mostly of them."""

LONG: Final = 256
"""Equations that one fused operation has at least for blocks of it to be worth functions on CPUs:
LLVM takes more than twice as long for twice as many."""

_LEVEL: Final = "xla_backend_optimization_level"


def check_goal(goal: str) -> None:
    """Raise UsageError for what is no goal."""
    if goal not in GOALS:
        raise UsageError(
            f"optimize is one of {', '.join(GOALS)}, not {goal!r}",
            hint=did_you_mean(str(goal), GOALS),
        )


def program_for(goal: str, graph: Graph, platforms: Sequence[str]) -> Graph:
    """The program to hand to XLA."""
    if goal == "run-time":
        return graph
    made = outline_graph(graph, SHORTEST, _of_long_loops if "cpu" in platforms else None)
    if goal == "balanced" and 2 * len(made) > len(graph):
        return graph
    return made


def _of_long_loops(graph: Graph, blocks: Sequence[Block]) -> list[Block]:
    """The blocks that XLA would make one fused operation of, a long one, with their other copies.

    By measuring, these alone are worth functions on CPUs: of a program that is cut into short ones
    XLA compiles as much again for the borders of its blocks as it saves.
    """
    ends = borders_of(graph).get(graph, frozenset())
    found = []
    for block in blocks:
        copies = [graph.equations[start : start + block.length] for start in block.starts]
        is_loop = all([is_fusible(e) and ends.isdisjoint(e.outputs) for c in copies for e in c])
        if is_loop and sum(map(len, copies)) >= LONG:
            found.append(block)
    return found


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
