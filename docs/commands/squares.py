"""A pass of a user's own, with a mistake in it."""

from dataclasses import dataclass
from typing import ClassVar

from covector.ir.graph import Equation, Graph
from covector.ir.primitive import PRIMITIVES
from covector.passes import Pass


@dataclass(frozen=True)
class Squares(Pass):
    """Write x * x as square(x)."""

    name: ClassVar[str] = "squares"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return graph.with_equations(map(_squared, graph.equations))


def _squared(eqn: Equation) -> Equation:
    if eqn.primitive.name != "mul":
        return eqn
    x, y = eqn.inputs
    if x.type != y.type:  # the mistake: it is the values that have to be equal
        return eqn
    return eqn.replace(primitive=PRIMITIVES["square"], inputs=(x,), params={})
