"""Which loops keep only a few of their states to be run backwards, and how many.

    y: f32[3] = scan[graph=@step, length=1000] w x
=>
    y: f32[3] = scan[graph=@step, length=1000, snapshots=20] w x

Law: the same outputs. What a derivative of the program keeps of each loop is that many states; what
it needs of the steps between, it computes again (`ir.revolve`).
"""

from __future__ import annotations

from typing import Final

from ..ir.errors import PassError, UsageError
from ..ir.graph import Equation, Graph, remembered, transformed
from ..ir.ops.control import scan, scan_sizes, split_sizes, while_, while_sizes
from ..ir.sizes import read_size, show_size
from .dce import is_same
from .regions import with_regions

MOST: Final = 2**15
"""As many states as a `while` is given room for, however large the budget: with them half a billion
steps are run backwards, none of them taken more than twice."""


def with_snapshots(
    graph: Graph, snapshots: int | None = None, budget: int | str | None = None
) -> Graph:
    """The graph, and all that it holds, with this many snapshots in loops that do not say.

    budget: in place of a number, how many bytes (or a size such as 4MiB) the snapshots of one loop
    may take at a time.

    Raises UsageError for numbers below one, and PassError where a budget does not hold one state.
    """
    if (snapshots is None) == (budget is None):
        raise UsageError("loops take either a number of snapshots or a budget of bytes")
    if snapshots is not None and snapshots < 1:
        raise UsageError(f"a loop is reversed with one snapshot at least, not {snapshots}")

    size = None if budget is None else read_size(budget, "the budget of a loop's snapshots")

    def change(graph: Graph) -> Graph:
        equations = []
        for eqn in graph.equations:
            if eqn.primitive.has_regions:
                eqn = with_regions(eqn, lambda region: remembered(region, key))
                if eqn.primitive in (scan, while_) and eqn.params["snapshots"] is None:
                    kept = snapshots if size is None else _affordable(eqn, size)
                    eqn = eqn.replace(params={**eqn.params, "snapshots": kept})
            equations.append(eqn)
        return graph if is_same(equations, graph.equations) else graph.with_equations(equations)

    key = ("snapshots", snapshots, size)
    return transformed(graph, key, change)


def state_bytes(eqn: Equation) -> int:
    """Bytes of what a loop carries from one step to the next."""
    sizes = scan_sizes(eqn) if eqn.primitive is scan else while_sizes(eqn)
    groups = split_sizes(eqn.inputs, sizes)
    carry = groups[1] if eqn.primitive is scan else groups[2]
    return sum(x.type.nbytes for x in carry)


def _affordable(eqn: Equation, budget: int) -> int:
    size = state_bytes(eqn)
    if budget < size:
        raise PassError(
            f"{eqn.primitive.name} carries {size} bytes from step to step, more than the budget of "
            f"{show_size(budget)} for its snapshots",
            eqn,
            hint=f"the smallest budget that this loop can keep is {size} bytes",
        )
    most = eqn.params["length"] if eqn.primitive is scan else MOST
    return max(1, min(most, budget // max(size, 1)))
