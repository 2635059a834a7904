"""Outline: blocks that a program repeats become calls of one function, which is compiled once.

    a = tanh x          a, b = call[graph=@f.block0, outlined=True] x w1
    b = mul a w1   =>   c, d = call[graph=@f.block0, outlined=True] b w2
    c = tanh b
    d = mul c w2

They are found by what they compute, wherever they stand; how the program was written does not
matter. Law: the same outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from ..ir.errors import UsageError, did_you_mean
from ..ir.graph import Graph, memoised
from ..ir.module import Module
from .base import Pass
from .counting import uses

SHORTEST: Final = 16
"""Fewer equations are not worth a function."""

GOALS: Final = ("run-time", "balanced", "compile-time")
"""What a program may be compiled for. `run-time`: it stays as it is. `compile-time`: repeated
blocks become functions. `balanced`: they do in programs that consist mostly of them."""


def check_goal(goal: str) -> None:
    """Raise UsageError for what is no goal."""
    if goal not in GOALS:
        raise UsageError(
            f"optimize is one of {', '.join(GOALS)}, not {goal!r}",
            hint=did_you_mean(str(goal), GOALS),
        )


def compiled_for(goal: str, graph: Graph) -> Graph:
    """The program to hand to XLA."""
    if goal == "run-time":
        return graph
    made = outline_graph(graph)
    if goal == "balanced" and 2 * len(made) > len(graph):
        return graph
    return made


def outline_graph(graph: Graph, shortest: int = SHORTEST) -> Graph:
    """A graph whose repeated blocks of that many equations or more are functions."""

    def make() -> Graph:
        # only when asked for: the command line starts without
        from .blocks.choose import choose_blocks
        from .blocks.order import constants_first
        from .blocks.rewrite import outlined

        ordered = constants_first(graph)
        blocks = choose_blocks(ordered, shortest)
        return outlined(ordered, blocks) if blocks else graph

    made: Graph = memoised(graph, ("outline", shortest), make)
    return made


@dataclass(frozen=True)
class Outline(Pass):
    """Make functions of the blocks that each graph repeats; XLA compiles each of them once.

    Option shortest: how many equations a block has at least.
    """

    name: ClassVar[str] = "outline"
    law: ClassVar[str] = "equal outputs"

    shortest: int = SHORTEST

    def run_graph(self, graph: Graph) -> Graph:
        if self.shortest < 1:
            raise UsageError(f"a block has one equation at least, not shortest={self.shortest}")
        return outline_graph(graph, self.shortest)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return {
            "calls": uses(after, "call") - uses(before, "call"),
            "functions": len(after.all_graphs()) - len(before.all_graphs()),
        }
