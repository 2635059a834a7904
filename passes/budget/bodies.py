"""Plans within regions: the bodies of loops, branches and calls that need much while they run."""

from __future__ import annotations

from functools import partial

from ...ir.graph import Equation, Graph, memoised
from ...ir.steps import body_bytes, scratch_bytes
from ..regions import with_regions
from .errors import BudgetError
from .rewound import SWEEP


def with_smaller_bodies(graph: Graph, limit: int) -> Graph:
    """The graph in which regions are planned to need at most `limit` bytes while they run, or as
    little as there is a plan for."""
    equations = [_smaller(eqn, limit) for eqn in graph.equations]
    if all(a is b for a, b in zip(equations, graph.equations, strict=True)):
        return graph
    return graph.with_equations(equations)


def _smaller(eqn: Equation, limit: int) -> Equation:
    if not eqn.primitive.has_regions or scratch_bytes(eqn) <= limit:
        return eqn
    regions = list(eqn.regions())
    if not regions or any(SWEEP in region.derived for region in regions):
        return eqn
    beside = scratch_bytes(eqn) - max(body_bytes(region) for region in regions)
    return with_regions(eqn, lambda region: _planned(region, limit - beside))


def _planned(body: Graph, limit: int) -> Graph:
    if body_bytes(body) <= limit:
        return body
    limit = _rounded(limit)
    made: Graph = memoised(body, ("planned", limit), partial(_plan, body, limit))
    return made


def _rounded(limit: int) -> int:
    """A limit to five bits, so that those that are nearly equal have one plan."""
    step = 1 << max(limit.bit_length() - 5, 0)
    return max(limit // step * step, 1)


def _plan(body: Graph, limit: int) -> Graph:
    from .plan import plan_memory  # plans hold plans

    least = peak_beside(body)
    try:
        return plan_memory(body, max(limit - least, 1)).graph
    except BudgetError as error:
        smaller = plan_memory(body, error.smallest).graph
    return smaller if body_bytes(smaller) < body_bytes(body) else body


def peak_beside(body: Graph) -> int:
    """What a body needs for its outputs."""
    from ...ir.steps import peak_bytes

    return body_bytes(body) - peak_bytes(body)
