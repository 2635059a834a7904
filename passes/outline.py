"""Outline: blocks that a program repeats become calls of one function, which is compiled once.

    a = tanh x          a, b = call[graph=@f.block0, outlined=True] x w1
    b = mul a w1   =>   c, d = call[graph=@f.block0, outlined=True] b w2
    c = tanh b
    d = mul c w2

They are found by what they compute, wherever they stand; how the program was written does not
matter. Law: the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ..ir.errors import UsageError
from ..ir.graph import Graph, memoised
from ..ir.module import Module
from .base import Pass
from .counting import uses

if TYPE_CHECKING:
    from .blocks.choose import Block

SHORTEST: Final = 16
"""Fewer equations are not worth a function."""

Choice = Callable[[Graph, "Sequence[Block]"], "list[Block]"]
"""(graph, its blocks) -> those that are to be functions."""


def outline_graph(graph: Graph, shortest: int = SHORTEST, choose: Choice | None = None) -> Graph:
    """A graph whose repeated blocks of that many equations or more are functions: those of them
    that `choose` returns, of all that there are."""

    def make() -> Graph:
        # only when asked for: the command line starts without
        from .blocks.choose import choose_blocks
        from .blocks.order import constants_first
        from .blocks.rewrite import outlined

        ordered = constants_first(graph)
        blocks = choose_blocks(ordered, shortest)
        if choose is not None:
            blocks = choose(ordered, blocks)
        return outlined(ordered, blocks) if blocks else graph

    made: Graph = memoised(graph, ("outline", shortest, choose), make)
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
