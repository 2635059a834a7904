"""Second derivatives of solves: how the transposed linear ODE is differentiated.

`linear_ode_back` is a function of (args, y0) too, linear in its cotangents c only. With x for
(args, y0), J for the derivative of the solution and H(c) for the second one of <c, solution>:

    jvp        F(dx, dc) = d(J^T c) = J^T dc + H(c) dx
               the same operator for the system (y, dy), with cotangents (dc, c)
    transpose  F^T w = (H(c) w, J w): H(c) is symmetric, so that is the same operator again, for
               the system (y, w) with cotangents (0, c), and the linear ODE of w forwards

No tangent is integrated twice, and what is transposed below is the dynamics at a point only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand, Zero
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, Value, memoised
from ...ir.ops.call import call
from ...ir.ops.ode import linear_ode_back, ode
from ...ir.solvers.arithmetic import entry, moved_axis, scaled
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph
from ..jvp import jvp_graph
from ..regions import Flags, arranged, nonzero, select, spread
from ..tables import Operands
from .ode import last_level, lower_graph, operands, push_level
from .ode_back import pull_graph, transpose_in_cotangents, transposed

# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(linear_ode_back)
def jvp_back(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    args, state, *_ = operands(eqn, eqn.inputs)
    n_args, n = len(args), len(state)
    dargs, dstate, dts = tangents[:n_args], tangents[n_args : n_args + n], tangents[n_args + n]
    cts, dcts = eqn.inputs[len(eqn.inputs) - n :], tangents[len(eqn.inputs) - n :]
    if not any(nonzero((*dargs, *dstate, dts))):
        b.append(eqn)
        given = [b.instantiate(ct) for ct in dcts]
        return b.emit(linear_ode_back, *eqn.inputs[: len(eqn.inputs) - n], *given, **eqn.params)
    return _Second(b, eqn, dargs, dstate, dts, cts, dcts).push()


class _Second:
    """A transposed linear ODE while its derivative is being written."""

    def __init__(
        self,
        b: Builder,
        eqn: Equation,
        dargs: Operands,
        dstate: Operands,
        dts: Operand,
        cts: Operands,
        dcts: Operands,
    ) -> None:
        self.b, self.eqn = b, eqn
        self.args, self.state, self.ts, _ = operands(eqn, eqn.inputs)
        self.dargs, self.dstate, self.dts, self.cts, self.dcts = dargs, dstate, dts, cts, dcts
        self.axis = len(eqn.params["lanes"])
        self.n_args_out = len(eqn.outputs) - len(self.state)

    def push(self) -> list[Operand]:
        """The outputs of the equation and, returned, their tangents."""
        b, eqn, n = self.b, self.eqn, len(self.state)
        active = nonzero(self.dargs)
        graph: Graph = eqn.params["graph"]
        pull = push_pull(eqn.params["pull"], active, n)
        starts = self.initial_tangents()
        own = (*self.args, *select(self.dargs, active), *self.state, *starts, self.ts)
        sizes = (*eqn.params["args"], sum(active))
        solve = {key: x for key, x in eqn.params.items() if key != "pull"}
        solve.update(graph=push_level(graph, active), args=sizes)
        is_direct = eqn.params["adjoint"] == "direct"
        solved = b.emit(ode, *own, **solve, stored=is_direct)
        residuals = solved[2 * n + 2 :] if is_direct else solved[: 2 * n]
        cts = (*self.moved_cts(solved[:n]), *self.cts)
        params = {**solve, "pull": pull}
        complete = linear_ode_back.complete(params)
        made = list(b.emit(linear_ode_back, *own, *residuals, *cts, **complete))
        k = self.n_args_out
        d_args, d_state = made[:k], made[k : k + n]
        b.append(eqn)  # partial evaluation finds the primal by itself
        return self.with_times(d_args, d_state, eqn.outputs[k:], solved[:n])

    def initial_tangents(self) -> list[Any]:
        b = self.b
        if isinstance(self.dts, Zero):
            return [b.instantiate(dy) for dy in self.dstate]
        dt0 = entry(b, self.dts, self.axis, 0)
        return [
            b.sub(dy, scaled(b, dt0, f)) for dy, f in zip(self.dstate, self.first(), strict=True)
        ]

    def first(self) -> Sequence[Any]:
        """f(y0, t0)."""
        t0 = entry(self.b, self.ts, self.axis, 0)
        return self.b.emit(call, *self.args, *self.state, t0, graph=self.eqn.params["graph"])

    # -- what moving the times adds ----------------------------------------------------------------

    def moved_cts(self, ys: Sequence[Any]) -> list[Any]:
        """dcts + f_y(ys_i)^T (cts_i dts_i): the solution at a moving time depends on y there."""
        b = self.b
        if isinstance(self.dts, Zero):
            return [b.instantiate(ct) for ct in self.dcts]
        pulled = self.pulled_at_times(ys)[self.n_args_out :]
        return [
            b.instantiate(b.add_any(ct, more)) for ct, more in zip(self.dcts, pulled, strict=True)
        ]

    def pulled_at_times(self, ys: Sequence[Any]) -> list[Any]:
        b = self.b
        moved = [scaled(b, self.dts, ct) for ct in self.cts]
        pull: Graph = self.eqn.params["pull"]
        return _pull_at_times(b, pull, self.args, ys, self.ts, moved, self.axis, self.n_args_out)

    def with_times(
        self, d_args: list[Any], d_state: list[Any], ct_state: Sequence[Any], ys: Sequence[Any]
    ) -> list[Operand]:
        if isinstance(self.dts, Zero):
            return [*d_args, *d_state]
        b, k = self.b, self.n_args_out
        along_times = self.pulled_at_times(ys)[:k]
        t0, dt0 = entry(b, self.ts, self.axis, 0), entry(b, self.dts, self.axis, 0)
        at_start = [scaled(b, dt0, ct) for ct in ct_state]
        pulled = b.emit(call, *self.args, *self.state, t0, *at_start, graph=self.eqn.params["pull"])
        d_args = [b.add_any(x, y) for x, y in zip(d_args, along_times, strict=True)]
        return [b.sub(x, y) for x, y in zip((*d_args, *d_state), pulled, strict=True)]


def _pull_at_times(
    b: Builder,
    pull: Graph,
    args: Sequence[Any],
    ys: Sequence[Any],
    ts: Any,
    cts: Sequence[Any],
    axis: int,
    n_args_out: int,
) -> list[Any]:
    """The transposed dynamics at all times: cotangents of args, summed, then those of ys."""
    size = ts.type.shape[axis]
    flags = (*(False for _ in args), *(True for _ in ys), True, *(True for _ in cts))
    at_all, _ = batch_graph(pull, flags, size, (True,) * len(pull.outputs))
    rows = [moved_axis(b, x, axis, 0) for x in (*ys, ts, *cts)]
    found = b.emit(call, *args, *rows, graph=at_all)
    sums = [b.reduce_sum(x, axes=(0,)) for x in found[:n_args_out]]
    return [*sums, *(moved_axis(b, x, 0, axis) for x in found[n_args_out:])]


def push_pull(pull: Graph, active_args: Flags, n: int) -> Graph:
    """The transposed dynamics of (y, dy), for cotangents (dc, c) of them:

    args dargs | y dy | t | dc c -> ct of args | of y, of dy

    With P(x, c) = f_x(x)^T c: that of dy is P(x, c), those of args and y are
    P(x, dc) + P_x(x, c) dx, that is dP.
    """
    key = ("push pull", active_args, n)
    made: Graph = memoised(pull, key, lambda: _push_pull(pull, active_args, n))
    return made


def _push_pull(pull: Graph, active_args: Flags, n: int) -> Graph:
    n_args = len(active_args)
    active = (*active_args, *(True,) * n, False, *(True,) * n)
    forward, _ = jvp_graph(pull, active, (True,) * len(pull.outputs))
    inputs = forward.inputs
    args, y, t, c = (
        inputs[:n_args],
        inputs[n_args : n_args + n],
        inputs[n_args + n],
        inputs[n_args + n + 1 : n_args + 2 * n + 1],
    )
    dargs = inputs[n_args + 2 * n + 1 : len(inputs) - 2 * n]
    dy, dc = inputs[len(inputs) - 2 * n : len(inputs) - n], inputs[len(inputs) - n :]
    k = len(pull.outputs) - n
    p_y = forward.outputs[k : k + n]
    d_args, d_y = forward.outputs[k + n : 2 * k + n], forward.outputs[2 * k + n :]
    return arranged(forward, (*args, *dargs, *y, *dy, t, *dc, *c), (*d_args, *d_y, *p_y))


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(linear_ode_back)
def transpose_back(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    """In its cotangents, or as a second derivative, in what it is linear in then: the last level
    of tangents and their cotangents dc."""
    n, n_args = len(eqn.params["graph"].outputs), sum(eqn.params["args"])
    if not any(linear[: len(linear) - n]):
        return transpose_in_cotangents(b, eqn, cts, linear)
    last = last_level(eqn)
    if any(linear[len(linear) - n // 2 :]) or any(
        is_linear and not own
        for is_linear, own in zip(linear[: n_args + n + 1], last, strict=False)
    ):
        raise PassError(
            "linear_ode_back is linear in its cotangents and in its last level only",
            eqn,
            stage="transpose",
        )
    return _transpose_second(b, eqn, cts, linear)


def _transpose_second(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> list[Operand]:
    """Residuals are no operands of F: what they are made from is."""
    args, state, ts, _ = operands(eqn, eqn.inputs)
    half, n_dargs = len(state) // 2, eqn.params["args"][-1]
    k = len(eqn.outputs) - len(state)
    joint, pull = second_graphs(eqn, k)
    w = [b.instantiate(ct) for ct in cts[: k + half]]
    own = (*args[: len(args) - n_dargs], *w[:k], *state[:half], *w[k:], ts)
    params = {**eqn.params, "graph": joint, "args": (*eqn.params["args"][:-1], k)}
    solve = {key: x for key, x in params.items() if key != "pull"}
    is_direct = eqn.params["adjoint"] == "direct"
    solved = b.emit(ode, *own, **solve, stored=is_direct)
    residuals = solved[2 * half + 2 :] if is_direct else solved[: 2 * half]
    c = eqn.inputs[len(eqn.inputs) - half :]
    none = [b.full(x.type.strong, 0) for x in c]
    found = b.emit(linear_ode_back, *own, *residuals, *none, *c, **{**params, "pull": pull})
    result = spread(found[: n_dargs + half], last_level(eqn), eqn.inputs)
    first = len(eqn.inputs) - 2 * half
    result[first : first + half] = solved[half : 2 * half]
    return spread(select(result, linear), linear, eqn.inputs)


def second_graphs(eqn: Equation, k: int) -> tuple[Graph, Graph]:
    """The joint dynamics of (y, w), and the transposed ones of it."""
    made: tuple[Graph, Graph] = memoised(
        eqn.params["graph"],
        ("second", eqn.params["pull"], eqn.params["args"]),
        lambda: _second_graphs(eqn, k),
    )
    return made


def _second_graphs(eqn: Equation, k: int) -> tuple[Graph, Graph]:
    """With f the dynamics, P(x, c) = f_x^T c, w for tangents of the k arguments and of y:

    joint: args w_args | y w_y | t -> f, f_x w
    pull:  args w_args | y w_y | t | dc c -> P(x, dc) + (P_x(x, c))^T w, P_y(x, c)
    """
    base = lower_graph(eqn)
    sizes, n = eqn.params["args"], len(eqn.params["graph"].outputs)
    half, n_dargs = n // 2, sizes[-1]
    first = pull_graph(eqn, (True,) * n_dargs)
    second = _transposed_pull(eqn, k)
    n_args = sum(sizes[:-1])
    args = [Value(v.type, v.name) for v in base.inputs[:n_args]]
    y = [Value(v.type, v.name) for v in base.inputs[n_args : n_args + half]]
    t = Value(base.inputs[-1].type, "t")
    w_args = [Value(v.type) for v in eqn.params["pull"].outputs[:k]]
    w_y, dc, c = ([Value(v.type) for v in y] for _ in range(3))

    b = Builder()
    slopes = b.inline(base, (*args, *y, t))
    none = [b.full(v.type.strong, 0) for v in c]
    pushed = b.inline(second, (*args, *y, t, *none, *w_args, *w_y))[n_dargs + half :]
    inputs = (*args, *w_args, *y, *w_y, t)
    joint = dce_graph(b.graph(inputs, (*slopes, *pushed), f"{base.name}.jvp"))[0]
    joint = arranged(joint, inputs, joint.outputs)

    b = Builder()
    pulled = b.inline(first, (*args, *y, t, *dc))
    of_y = b.inline(first, (*args, *y, t, *c))[n_dargs:]
    curved = b.inline(second, (*args, *y, t, *c, *w_args, *w_y))
    sums = [b.add_any(p, q) for p, q in zip(pulled, curved[: n_dargs + half], strict=True)]
    pull = b.graph((*inputs, *dc, *c), (*sums, *of_y), f"{base.name}.second")
    return joint, pull


def _transposed_pull(eqn: Equation, k: int) -> Graph:
    """args | y | t | c | w_args w_y -> cotangents of dargs, of dy, of dc: the transpose of
    (dargs, dy, dc) -> P(x, dc) + P_x(x, c) dx."""
    pull: Graph = eqn.params["pull"]
    sizes, n = eqn.params["args"], len(eqn.params["graph"].outputs)
    half, n_args = n // 2, sum(sizes)
    linear = [False] * len(pull.inputs)
    linear[n_args - sizes[-1] : n_args] = [True] * sizes[-1]
    linear[n_args + half : n_args + n] = [True] * half
    linear[n_args + n + 1 : n_args + n + 1 + half] = [True] * half
    given = [i < k + half for i in range(len(pull.outputs))]
    return transposed(pull, linear, given)
