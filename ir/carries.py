"""What loops carry, and whose memory it stays in while they run."""

from __future__ import annotations

from typing import Final

from . import fusion
from .graph import Atom, Equation, Graph
from .ops.control import scan_sizes, split_sizes, while_sizes
from .ops.rewind import rewind_groups

LOOPS: Final = frozenset({"scan", "while", "replay", "rewind"})


def carry_of(eqn: Equation) -> tuple[Atom, ...]:
    """What a loop carries, as it starts."""
    name = eqn.primitive.name
    if name == "scan":
        return tuple(split_sizes(eqn.inputs, scan_sizes(eqn))[1])
    if name == "while":
        return tuple(split_sizes(eqn.inputs, while_sizes(eqn))[2])
    return tuple(rewind_groups(eqn, eqn.inputs)[3])


def moving_outputs(graph: Graph) -> list[Atom]:
    """The outputs of a body that are not an input with something written into it."""
    makers: dict[Atom, Equation] = {v: e for e in graph.equations for v in e.outputs}
    found = []
    for x in graph.outputs:
        source: Atom | None = x
        while source in makers:
            source = _written_into(makers[source], source)
        if source is None:
            found.append(x)
    return found


def _written_into(eqn: Equation, x: Atom) -> Atom | None:
    """The operand whose memory an output takes over, where there is such."""
    if eqn.primitive.name in fusion.IN_PLACE or fusion.is_view(eqn):
        return eqn.inputs[0]
    if eqn.primitive.name in LOOPS:
        pairs = zip(eqn.outputs, carry_of(eqn), strict=False)
        return next((start for y, start in pairs if y is x), None)
    return None
