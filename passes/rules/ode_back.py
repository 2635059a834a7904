"""The transpose of a linear ODE, and how that transforms in turn.

    linear_ode_back   args | y0 | ts | residuals | cts -> ct_args | ct_y0

The transpose of the linear ODE d delta/dt = A delta + B dargs is the linear ODE with the negated,
transposed dynamics, run backwards in time:  d ct/dt = -A^T ct,  ct_args = int B^T ct dt.

In its cotangents alone it is linear, and its transpose there is the linear ODE again. As a
function of (args, y0, ts) it is differentiated in `ode_second`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.ode import linear_ode, linear_ode_back
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph
from ..partial_eval import ordered_graph
from ..regions import Flags, arranged, reject, select, spread
from ..tables import Operands
from ..transpose import transpose_graph
from .ode import (
    batched_system,
    last_level,
    lower_graph,
    operands,
    without_unread_args,
)

# -- from a linear ODE to its transpose ------------------------------------------------------------


@tables.transpose.rule(linear_ode)
def transpose_linear_ode(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    last = last_level(eqn)
    if any(is_linear and not own for is_linear, own in zip(linear, last, strict=True)):
        raise PassError(
            "linear_ode is linear in the tangents of its last level only", eqn, stage="transpose"
        )
    args, state, ts, residuals = operands(eqn, eqn.inputs)
    dargs_linear = linear[len(args) - eqn.params["args"][-1] : len(args)]
    half = len(state) // 2
    pull = pull_graph(eqn, tuple(dargs_linear))
    below = reject(eqn.inputs, last)[: len(args) - eqn.params["args"][-1] + half]
    params = {key: eqn.params[key] for key in linear_ode_back.param_names if key != "pull"}
    params.update(graph=lower_graph(eqn), pull=pull, args=eqn.params["args"][:-1])
    given = [b.instantiate(ct) for ct in cts]
    found = list(b.emit(linear_ode_back, *below, ts, *residuals, *given, **params))
    is_active = [own and is_linear for own, is_linear in zip(last, linear, strict=True)]
    states_active = is_active[len(args) : len(args) + len(state)]
    ct_args, ct_state = found[: sum(dargs_linear)], found[sum(dargs_linear) :]
    wanted = select(ct_state, states_active[half:])
    return spread([*ct_args, *wanted], is_active, eqn.inputs)


def pull_graph(eqn: Equation, dargs_linear: Flags) -> Graph:
    """args | y | t | ct -> cotangents of those tangents of args | of y: the transposed dynamics."""
    graph: Graph = eqn.params["graph"]
    n_out = len(graph.outputs)
    tangent, used = dce_graph(graph, [i >= n_out // 2 for i in range(n_out)])
    own = (*last_level(eqn)[: len(graph.inputs) - 1], False)
    complete = arranged(tangent, graph.inputs, tangent.outputs)
    n_dargs = eqn.params["args"][-1]
    rest = iter((*dargs_linear, *(True,) * (n_out // 2)))
    assert len(dargs_linear) == n_dargs
    linear = [is_own and next(rest) for is_own in own]
    back = transposed(complete, linear)
    others = reject(graph.inputs, linear)
    skipped = [
        v for v, is_own, lin in zip(graph.inputs, own, linear, strict=True) if is_own and not lin
    ]
    n_others = len(others)
    assert not used or back.inputs[:n_others] == tuple(others)
    inputs = [v for v in back.inputs if v not in set(skipped)]
    return arranged(back, inputs, back.outputs)


def transposed(graph: Graph, linear: Sequence[bool], given: Sequence[bool] | None = None) -> Graph:
    """The transpose in the inputs marked linear, cotangents of all of which are returned.

    Dynamics are differentiated as one graph, so what they call computes primals beside tangents.
    """
    return transpose_graph(ordered_graph(graph, linear), linear, given, linear)[0]


# -- transpose -----------------------------------------------------------------------------------


def transpose_in_cotangents(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """A `linear_ode_back` that is linear in its cotangents alone: the linear ODE, forwards."""
    args, state, ts, _ = operands(eqn, eqn.inputs)
    n = len(state)
    first = len(eqn.inputs) - n
    k = len(eqn.outputs) - n
    graph = with_tangents(eqn.params["graph"], eqn.params["pull"], len(args), k)
    params = {key: eqn.params[key] for key in linear_ode.param_names}
    params.update(graph=graph, args=(*eqn.params["args"], k))
    starts = [b.instantiate(ct) for ct in cts]
    residuals = eqn.inputs[len(args) + n + 1 : first]
    own = (*args, *starts[:k], *state, *starts[k:], ts)
    found = b.emit(linear_ode, *own, *residuals, **params)
    is_linear = (*(False,) * first, *linear[first:])
    return spread(select(found, linear[first:]), is_linear, eqn.inputs)


def with_tangents(graph: Graph, pull: Graph, n_args: int, n_dargs: int) -> Graph:
    """args dargs | y dy | t -> slopes of y, slopes of dy: from the transposed dynamics."""
    key = ("with tangents", pull)
    made: Graph = memoised(graph, key, lambda: _with_tangents(graph, pull, n_args, n_dargs))
    return made


def _with_tangents(graph: Graph, pull: Graph, n_args: int, n_dargs: int) -> Graph:
    n = len(graph.outputs)
    linear = [i > n_args + n for i in range(len(pull.inputs))]
    push = transposed(pull, linear)
    b = Builder()
    args = [Value(v.type, v.name) for v in graph.inputs[:n_args]]
    dargs = [Value(v.type) for v in pull.outputs[:n_dargs]]
    y = [Value(v.type, v.name) for v in graph.inputs[n_args : n_args + n]]
    dy = [Value(v.type) for v in y]
    t = Value(graph.inputs[-1].type, "t")
    slopes = b.inline(graph, (*args, *y, t))
    pushed = b.inline(push, (*args, *y, t, *dargs, *dy))
    return b.graph((*args, *dargs, *y, *dy, t), (*slopes, *pushed), f"{graph.name}.jvp")


# -- batch and dead code -------------------------------------------------------------------------


@tables.batch.rule(linear_ode_back)
def batch_back(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """Every example takes steps of its own."""
    operands_, params = batched_system(b, eqn, inputs, batched, size)
    pull: Graph = eqn.params["pull"]
    n_args = sum(eqn.params["args"])
    flags = (*batched[:n_args], *(True for _ in pull.inputs[n_args:]))
    params["pull"], _ = batch_graph(pull, flags, size, (True,) * len(pull.outputs))
    return b.emit(linear_ode_back, *operands_, **params), (True,) * len(eqn.outputs)


@tables.dce.rule(linear_ode_back)
def prune_back(eqn: Equation, used: Flags) -> Equation:
    """Without cotangents of arguments that nobody reads."""
    n = len(eqn.params["graph"].outputs)
    kept = (*used[: len(used) - n], *(True,) * n)
    if not all(kept):
        pull: Graph = eqn.params["pull"]
        smaller = arranged(pull, pull.inputs, select(pull.outputs, kept))
        params = {**eqn.params, "pull": smaller}
        eqn = eqn.replace(params=params, outputs=tuple(select(eqn.outputs, kept)))
    return without_unread_args(eqn, "pull")
