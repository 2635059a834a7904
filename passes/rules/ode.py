"""How solves of differential equations transform. The transposed ones are in `ode_back`.

    ode          args | y0 | ts               -> ys | stats reached | steps
    linear_ode   args | y0 | ts | residuals   -> ys of the last level

With v the tangents of y0 and args, and the flow's own derivatives with respect to times:

    dys_i = L(dy0 - f(y0, t0) dt0, dargs)_i + f(ys_i, ts_i) dts_i
    L: the solution of  d delta/dt = f_y delta + f_args dargs,  one level of tangents more

`ode` solves a level together with those below. Partial evaluation takes them apart: the primal is
an `ode`, L is a `linear_ode`, which knows the primal from its residuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.graph import Equation, Graph, Params
from ...ir.ops.call import call
from ...ir.ops.ode import linear_ode, ode
from ...ir.solvers.arithmetic import entry, moved_axis, scaled
from ...ir.solvers.spec import Spec, split_operands
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..jvp import jvp_graph, tangent_name
from ..regions import Flags, arranged, equation, nonzero, reject, select
from ..tables import Operands, materialise_batch
from .scan_split import Halves


def operands(eqn: Equation, items: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """args | state | ts | residuals of an equation of this family."""
    graph: Graph = eqn.params["graph"]
    return split_operands(items, sum(eqn.params["args"]), len(graph.outputs))


# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(ode)
def jvp_ode(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """One solve for the state and its tangents."""
    args, state, ts, _ = operands(eqn, eqn.inputs)
    dargs, dstate, dts, _ = operands(eqn, tangents)
    n = len(state)
    joint = push_level(eqn.params["graph"], nonzero(dargs))
    starts = _initial_tangents(b, eqn, dstate, dts)
    inputs = (*args, *select(dargs, nonzero(dargs)), *state, *starts, ts)
    params = {**eqn.params, "graph": joint, "args": (*eqn.params["args"], sum(nonzero(dargs)))}
    more: list[Any] = [None] * n
    rest = eqn.outputs[n:]
    stored_more = [None] * _rows_stored(eqn) if eqn.params["stored"] else []
    made = equation(ode, inputs, (*eqn.outputs[:n], *more, *rest, *stored_more), params, eqn)
    b.append(made)
    dys: list[Any] = list(made.outputs[n : 2 * n])
    for y, dy in zip(eqn.outputs, dys, strict=False):
        dy.name = tangent_name(y.name)
    if not isinstance(dts, Zero):
        dys = _moved_by_times(b, eqn, args, ts, dys, dts)
    return [*dys, *(Zero(v.type) for v in rest)]


def push_level(graph: Graph, active_args: Flags) -> Graph:
    """The dynamics with one level of tangents more:

    args dargs | y dy | t -> slopes of y, slopes of dy
    """
    n_args, n_state = len(active_args), len(graph.outputs)
    active = (*active_args, *(True,) * n_state, False)
    forward, _ = jvp_graph(graph, active, (True,) * n_state)
    args, state, t, dxs = split_operands(forward.inputs, n_args, n_state)
    n_dargs = sum(active_args)
    inputs = (*args, *dxs[:n_dargs], *state, *dxs[n_dargs:], t)
    return arranged(forward, inputs, forward.outputs)


def _initial_tangents(b: Builder, eqn: Equation, dstate: Operands, dts: Operand) -> list[Any]:
    """dy0 - f(y0, t0) dt0: starting later from the same state is starting elsewhere."""
    if isinstance(dts, Zero):
        return [b.instantiate(dy) for dy in dstate]
    args, state, ts, _ = operands(eqn, eqn.inputs)
    axis = len(eqn.params["lanes"])
    t0, dt0 = entry(b, ts, axis, 0), entry(b, dts, axis, 0)
    slopes = b.emit(call, *args, *state, t0, graph=eqn.params["graph"])
    return [b.sub(dy, scaled(b, dt0, f)) for dy, f in zip(dstate, slopes, strict=True)]


def slopes_at_times(
    b: Builder, graph: Graph, args: Sequence[Any], ys: Sequence[Any], ts: Any, axis: int
) -> list[Any]:
    """f(args, ys_i, ts_i) for all i, in the layout of ys: [lanes, n, ...]."""
    size = ts.type.shape[axis]
    flags = (*(False for _ in args), *(True for _ in ys), True)
    at_all, _ = batch_graph(graph, flags, size, (True,) * len(graph.outputs))
    rows = [moved_axis(b, x, axis, 0) for x in (*ys, ts)]
    return [moved_axis(b, x, 0, axis) for x in b.emit(call, *args, *rows, graph=at_all)]


def _moved_by_times(
    b: Builder, eqn: Equation, args: Sequence[Any], ts: Any, dys: list[Any], dts: Any
) -> list[Any]:
    """dys + f(ys, ts) dts."""
    axis, graph = len(eqn.params["lanes"]), eqn.params["graph"]
    slopes = slopes_at_times(b, graph, args, eqn.outputs[: len(dys)], ts, axis)
    return [b.add_any(dy, scaled(b, dts, f)) for dy, f in zip(dys, slopes, strict=True)]


@tables.jvp.rule(linear_ode)
def jvp_linear_ode(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """Linear in the last level: L of its tangents. Else, as the solve of all levels that it is.

    The residuals are what makes it cheap, not what it depends on.
    """
    flags = last_level(eqn)
    if not any(f and not last for f, last in zip(nonzero(tangents), flags, strict=True)):
        b.append(eqn)
        inputs = [
            b.instantiate(dx) if last else x
            for x, dx, last in zip(eqn.inputs, tangents, flags, strict=True)
        ]
        return b.emit(linear_ode, *inputs, **eqn.params)
    args, state, *_ = operands(eqn, eqn.inputs)
    n = len(state)
    n_own = len(args) + n + 1
    fresh: list[Any] = [None] * (n - len(eqn.outputs))
    solve = equation(ode, eqn.inputs[:n_own], (*fresh, *eqn.outputs, None, None), eqn.params, eqn)
    return jvp_ode(b, solve, tangents[:n_own])[n - len(eqn.outputs) : n]


def last_level(eqn: Equation) -> Flags:
    """Which operands are of the last level of tangents; none if there is only the state."""
    sizes = eqn.params["args"]
    n_args, n_state = sum(sizes), len(eqn.params["graph"].outputs)
    flags = [False] * len(eqn.inputs)
    if len(sizes) > 1:
        flags[n_args - sizes[-1] : n_args] = [True] * sizes[-1]
        half = n_state // 2
        flags[n_args + half : n_args + n_state] = [True] * half
    return tuple(flags)


# -- partial evaluation --------------------------------------------------------------------------


@tables.split.rule(ode)
def split_ode(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    """The last level waits, if it alone is unknown: as a linear_ode along the known solution."""
    last = last_level(eqn)
    if any(u and not own for u, own in zip(unknown, last, strict=True)):
        return [], [eqn], (True,) * len(eqn.outputs)
    half, n = len(eqn.params["graph"].outputs) // 2, len(eqn.params["graph"].outputs)
    below = without_last_level(eqn)
    is_direct = eqn.params["adjoint"] == "direct"
    params = {**below.params, "stored": is_direct}
    rows = _rows_stored(eqn) // 2
    steps: list[Any] = [None] * (3 + rows) if is_direct else []
    if eqn.params["stored"]:
        steps = list(eqn.outputs[n + 2 : n + 5 + rows])
    made = (*eqn.outputs[:half], *eqn.outputs[n : n + 2], *steps)
    known = equation(ode, below.inputs, made, params, eqn)
    residuals = known.outputs[half + 2 :] if is_direct else known.outputs[:half]
    linear_params = {key: eqn.params[key] for key in linear_ode.param_names}
    tangents = eqn.outputs[half:n]
    rest = [equation(linear_ode, (*eqn.inputs, *residuals), tangents, linear_params, eqn)]
    if eqn.params["stored"]:  # their tangents are nothing but residuals of later solves
        unread: list[Any] = [None] * (n + 5 + rows)
        made_late = eqn.outputs[n + 5 + rows :]
        rest.append(equation(ode, eqn.inputs, (*unread, *made_late), eqn.params, eqn))
    is_tangent = [v in set(tangents) for v in eqn.outputs]
    if eqn.params["stored"]:
        is_tangent[n + 5 + rows :] = [True] * rows
    return [known], rest, is_tangent


def _rows_stored(eqn: Equation) -> int:
    """How many rows an `ode` keeps of each step, if it does."""
    states = eqn.params["graph"].outputs
    return len(Spec.of(eqn.params).rows_stored(states, states))


def without_last_level(eqn: Equation) -> Equation:
    """The solve of the levels below: an `ode` without outputs, for its operands and parameters."""
    return Equation(
        ode,
        tuple(reject(eqn.inputs, last_level(eqn))),
        (),
        {**eqn.params, "graph": lower_graph(eqn), "args": eqn.params["args"][:-1]},
        eqn.location,
    )


def lower_graph(eqn: Equation) -> Graph:
    """The dynamics of the levels below the last."""
    graph: Graph = eqn.params["graph"]
    n = len(graph.outputs)
    own = (*last_level(eqn)[: len(graph.inputs) - 1], False)
    return region_of(graph, [i < n // 2 for i in range(n)], [not f for f in own])


# -- batch ---------------------------------------------------------------------------------------


def batched_system(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[list[Any], Params]:
    """Operands and parameters with one lane axis more; arguments may be the same for all."""
    params = eqn.params
    graph: Graph = params["graph"]
    n_args, n_state = sum(params["args"]), len(graph.outputs)
    args, *_ = operands(eqn, batched)
    flags = (*args, *(True,) * n_state, True)
    changed = {**params, "lanes": (size, *params["lanes"])}
    changed["graph"], _ = batch_graph(graph, flags, size, (True,) * n_state)
    jacobian = params["jacobian"]
    if jacobian is not None:
        n_own = params["args"][0]
        own = (*args[:n_own], *(True for _ in jacobian.inputs[n_own:]))
        changed["jacobian"], _ = batch_graph(jacobian, own, size, (True,))
    operands_ = [
        x if i < n_args else materialise_batch(b, x, is_batched, size)
        for i, (x, is_batched) in enumerate(zip(inputs, batched, strict=True))
    ]
    return operands_, changed


@tables.batch.rule(ode, linear_ode)
def batch_ode(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """Every example takes steps of its own. Directions of one derivative share the primal."""
    last = last_level(eqn)
    if eqn.primitive is ode and not any(
        is_batched and not own for is_batched, own in zip(batched, last, strict=True)
    ):
        return _batch_directions(b, eqn, inputs, batched, size)
    return _batch_lanes(b, eqn, inputs, batched, size)


def _batch_lanes(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    operands_, params = batched_system(b, eqn, inputs, batched, size)
    return b.emit(eqn.primitive, *operands_, **params), (True,) * len(eqn.outputs)


def _batch_directions(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """The primal once, the tangents as a batch."""
    first, second, is_tangent = split_ode(eqn, last_level(eqn))
    env: dict[Any, Any] = dict(zip(eqn.inputs, inputs, strict=True))
    active = {x for x, is_batched in zip(eqn.inputs, batched, strict=True) if is_batched}
    for part in first:
        b.append(part.replace(inputs=tuple([env.get(x, x) for x in part.inputs])))
    for part in second:
        given = [env.get(x, x) for x in part.inputs]
        flags = [x in active for x in part.inputs]
        found, _ = _batch_lanes(b, part, given, flags, size)
        env.update(zip(part.outputs, found, strict=True))
        active.update(part.outputs)
    outputs = [
        materialise_batch(b, env.get(v, v), v in active, size) if tangent else env.get(v, v)
        for v, tangent in zip(eqn.outputs, is_tangent, strict=True)
    ]
    return outputs, tuple(is_tangent)


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(ode)
def prune_ode(eqn: Equation, used: Flags) -> Equation:
    """Without steps and levels that nobody reads, and without arguments that nothing needs."""
    n = len(eqn.params["graph"].outputs)
    if eqn.params["stored"] and not any(used[n + 2 :]):
        params = {**eqn.params, "stored": False}
        eqn = eqn.replace(outputs=eqn.outputs[: n + 2], params=params)
    if len(eqn.params["args"]) > 1 and not eqn.params["stored"] and not any(used[n // 2 : n]):
        below = without_last_level(eqn)
        outputs = (*eqn.outputs[: n // 2], *eqn.outputs[n : n + 2])
        kept = (*used[: n // 2], *used[n : n + 2])
        return prune_ode(below.replace(outputs=outputs), kept)
    return without_unread_args(eqn)


@tables.dce.rule(linear_ode)
def prune_linear_ode(eqn: Equation, used: Flags) -> Equation:
    return without_unread_args(eqn)


def without_unread_args(eqn: Equation, *more: str) -> Equation:
    """Without the arguments that neither the dynamics nor the graphs named `more` read."""
    params = dict(eqn.params)
    graph: Graph = params["graph"]
    n_args = sum(params["args"])
    read = list(dce_graph(graph)[1][:n_args])
    for name in ("jacobian", *more):
        if params[name] is not None:
            found = dce_graph(params[name])[1]
            for i in range(params["args"][0] if name == "jacobian" else n_args):
                read[i] = read[i] or found[i]
    if all(read):
        return eqn
    sizes, start = [], 0
    for size in params["args"]:
        sizes.append(sum(read[start : start + size]))
        start += size
    for name in ("graph", "jacobian", *more):
        region: Graph | None = params[name]
        if region is not None:
            n_own = params["args"][0] if name == "jacobian" else n_args
            inputs = (*select(region.inputs[:n_own], read[:n_own]), *region.inputs[n_own:])
            params[name] = arranged(region, inputs, region.outputs)
    params["args"] = tuple(sizes)
    kept = (*select(eqn.inputs[:n_args], read), *eqn.inputs[n_args:])
    return eqn.replace(inputs=kept, params=params)
