"""Implicit functions: values that are defined by an equation, and differentiated through it.

f(c, x) = 0  defines x as a function of c:   f_x dx = -f_c dc

`custom_root` is a call of a function with a forward rule of its own, whose tangent is one
custom_linear_solve. Reverse mode, second derivatives and batches follow from the rules of these two
primitives; how the root was found is never differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.builder import Builder, Zero
from ..ir.errors import ArgumentError
from ..ir.graph import Atom, Graph, Thunk, Value
from ..ir.ops.call import Flags, custom_jvp_call
from ..ir.ops.control import custom_linear_solve as linear_solve_p
from ..ir.types import TensorType, has_tangent
from ..passes.jvp import jvp_graph
from ..passes.linearize import linearize_graph
from ..passes.transpose import linear_flags, transpose_graph
from .avals import to_jax_dtype, type_of
from .captures import closure_tracers
from .execute import execute
from .export import call_graph
from .linear_solvers import Solver, find_solver
from .staged import Staged
from .staging import function_name, split_aux, stage
from .trace import Recording, recording_trace, trace_flat

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class System:
    """A function of one pytree that returns such a pytree, as a graph: consts | x -> f(x)."""

    graph: Graph
    consts: tuple[Any, ...]
    tree: Any
    types: tuple[TensorType, ...]

    def function(self, consts: Sequence[Any]) -> Function:
        """The function again, for Python to call, with these values of what it closes over."""

        def apply(x: Any) -> Any:
            leaves, tree = jax.tree.flatten(x)
            if tree != self.tree:
                raise ArgumentError(
                    f"{self.graph.name} was made for values nested as {self.tree}; got {tree}"
                )
            return jax.tree.unflatten(self.tree, call_graph(self.graph, (*consts, *leaves)))

        return apply


def strong_leaves(what: str, x: Any) -> tuple[list[Any], Any]:
    """The leaves of a pytree of unknowns, as arrays of floats or complex numbers."""
    leaves, tree = jax.tree.flatten(x)
    arrays = []
    for leaf in leaves:
        array = jnp.asarray(leaf)
        if isinstance(leaf, int) and not isinstance(leaf, bool):
            array = jnp.asarray(float(leaf))
        if not has_tangent(type_of(array)):
            raise ArgumentError(
                f"{what} solves for floats or complex numbers; it was given a value of type "
                f"{type_of(array)} to start from"
            )
        arrays.append(jax.lax.convert_element_type(array, array.dtype))
    return arrays, tree


def system_of(what: str, f: Function, leaves: Sequence[Any], tree: Any) -> System:
    """Trace f at x. Raises ArgumentError unless it returns what x is: nesting, shapes, dtypes."""
    staged: Staged = stage(f, leaves, jax.tree.structure(((_hole(tree),), {})))
    types = tuple(type_of(x).strong for x in leaves)
    if staged.out_tree != tree:
        raise ArgumentError(
            f"{what}: {function_name(f)} takes a value nested as {tree} and must return one; it "
            f"returned {staged.out_tree}"
        )
    for i, (got, want) in enumerate(zip(staged.graph.output_types, types, strict=True)):
        if got.strong is not want:
            raise ArgumentError(
                f"{what}: {function_name(f)} returns {got.strong} for the leaf {i} of type {want}, "
                "and must return what it takes"
            )
    return System(staged.graph, staged.captured, tree, types)


def _hole(tree: Any) -> Any:
    return jax.tree.unflatten(tree, [0] * tree.num_leaves)


# -- linear solves ---------------------------------------------------------------------------------


def custom_linear_solve(
    matvec: Function,
    b: Any,
    solve: Callable[[Function, Any], Any],
    transpose_solve: Callable[[Function, Any], Any] | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """The x with matvec(x) = b, found by `solve(matvec, b)`; as `jax.lax.custom_linear_solve`.

    matvec is linear, over pytrees like b; it and the solvers may close over anything, and
    derivatives are taken by what matvec closes over, never through the solvers:
    dx = solve(db - dA x), and reverse mode solves the transposed system with `transpose_solve`
    (with `solve`, if matvec is `symmetric`). With `has_aux`, the solvers return (x, aux).

    Raises ArgumentError where structures or types do not fit, and MissingRule if matvec is not
    linear.
    """
    leaves, tree = strong_leaves("custom_linear_solve", b)
    system = system_of("custom_linear_solve", matvec, leaves, tree)
    transposed = None
    if symmetric:
        transposed, transpose_solve = system, transpose_solve or solve
    elif transpose_solve is not None:
        transposed = _transposed(system)
    forward = _record_solver(system, solve, has_aux)
    backward = None
    if transposed is not None and transpose_solve is not None:
        backward = _record_solver(transposed, transpose_solve, has_aux)
    consts, params = _solve_operands(system, transposed, forward, backward)
    outputs = _run(linear_solve_p, consts, leaves, params)
    n = len(leaves)
    x = jax.tree.unflatten(tree, outputs[:n])
    return (x, jax.tree.unflatten(forward.aux_tree, outputs[n:])) if has_aux else x


def linear_solve(
    matvec: Function,
    b: Any,
    *,
    solver: str | Solver = "auto",
    symmetric: bool = False,
    throw: bool = True,
) -> Any:
    """The x with matvec(x) = b for a linear matvec over pytrees, without its matrix.

    Derivatives are taken by b and by what matvec closes over, as in `custom_linear_solve`.
    solver: "dense", "gmres", "cg" (for symmetric or Hermitian, positive definite matrices), "auto"
      (dense for up to 128 unknowns, then gmres), or a function (matvec, b) -> x.
    symmetric: whether the matrix is its own transpose, without conjugates.

    Raises SolveError, when it runs, if the system is singular or the solver stalls; with
    throw=False the result is NaN then.
    """
    found = find_solver(solver, throw)
    is_complex = any(map(jnp.iscomplexobj, jax.tree.leaves(b)))
    # the transpose of a Hermitian matrix is its conjugate, which is definite too
    symmetric = symmetric or (solver == "cg" and not is_complex)
    return custom_linear_solve(matvec, b, found, found, symmetric)


@dataclass(frozen=True)
class _Solver:
    """A solver as a graph: its consts | consts of the system | b -> x | aux."""

    graph: Graph
    consts: tuple[Any, ...]
    aux_tree: Any


def _record_solver(
    system: System,
    solve: Callable[[Function, Any], Any],
    has_aux: bool = False,
    aliases: Sequence[Any] = (),
) -> _Solver:
    """Trace a solver `solve(f, start) -> x` or (x, aux) of a system.

    `aliases` are tracers that it may read although their trace is over: its first operands.
    """
    aux_trees: list[Any] = []
    n = len(system.consts)

    def flat_solve(*values: Any) -> list[Any]:
        start = jax.tree.unflatten(system.tree, values[n:])
        x = solve(system.function(values[:n]), start)
        aux: list[Any] = []
        if has_aux:
            x, found = split_aux(solve, x)
            aux, tree = jax.tree.flatten(found)
            aux_trees[:] = [tree]
        flat, tree = jax.tree.flatten(x)
        if tree != system.tree:
            raise ArgumentError(
                f"{function_name(solve)} must return a solution nested as {system.tree}; it "
                f"returned {tree}"
            )
        return [
            *(_fitted(solve, y, t) for y, t in zip(flat, system.types, strict=True)), *aux
        ]  # fmt: skip

    inputs = (*(type_of(c) for c in system.consts), *system.types)
    made: Recording = trace_flat(
        flat_solve,
        inputs,
        name=function_name(solve),
        aliases=aliases,
        outer=recording_trace(),
    )
    return _Solver(made.graph, (*made.captured, *aliases), aux_trees[0] if has_aux else None)


def _fitted(solve: Any, x: Any, t: TensorType) -> Any:
    """A part of a solution, strongly typed. Raises ArgumentError if it is not of that type."""
    got = type_of(x)
    if got.shape != t.shape or (got.dtype != t.dtype and not got.weak):
        raise ArgumentError(f"{function_name(solve)} returned {got} for an unknown of type {t}")
    return jax.lax.convert_element_type(x, to_jax_dtype(t.dtype))


def _transposed(system: System) -> System:
    """The system of the transposed matrix, with the same consts."""
    n = len(system.consts)
    linear = [i >= n for i in range(len(system.graph.inputs))]
    graph, _ = transpose_graph(system.graph, linear, force=linear)
    return System(graph, system.consts, system.tree, system.types)


def _solve_operands(
    system: System, transposed: System | None, forward: _Solver, backward: _Solver | None
) -> tuple[list[Any], dict[str, Any]]:
    """The consts of a custom_linear_solve equation, and its parameters."""
    groups: list[tuple[Any, ...]] = [system.consts, (), (*forward.consts, *system.consts), ()]
    if transposed is not None and backward is not None:
        groups[1] = transposed.consts
        groups[3] = (*backward.consts, *transposed.consts)
    params = {
        "matvec": system.graph,
        "vecmat": transposed.graph if transposed is not None else None,
        "solve": forward.graph,
        "transpose_solve": backward.graph if backward is not None else None,
        "const_lengths": tuple(map(len, groups)),
    }
    return [x for group in groups for x in group], params


def _run(primitive: Any, consts: Sequence[Any], leaves: Sequence[Any], params: Any) -> list[Any]:
    """One equation, run or recorded."""
    operands = (*consts, *leaves)
    values = [Value(type_of(x).strong) for x in operands]
    b = Builder()
    outputs = b.emit(primitive, *values, **params)
    graph = b.graph(values, outputs, primitive.name)
    return execute(graph, operands)


# -- roots -----------------------------------------------------------------------------------------


def custom_root(
    f: Function,
    initial_guess: Any,
    solve: Callable[[Function, Any], Any],
    tangent_solve: Callable[[Function, Any], Any],
    has_aux: bool = False,
    *,
    symmetric: bool = False,
) -> Any:
    """The x with f(x) = 0 that `solve(f, initial_guess)` finds; as `jax.lax.custom_root`.

    f maps a pytree to one like it and may close over anything; derivatives are those of x as an
    implicit function of what f closes over, forward, reverse and of any order. There is none with
    respect to the initial guess. `tangent_solve(g, y)` solves g(x) = y for a linear g: the
    derivative of f, and in reverse mode its transpose; with `symmetric`, these are the same.
    With `has_aux`, solve returns (x, aux); aux has no derivative.

    Raises ArgumentError where f or solve do not return what they must.
    """
    leaves, tree = strong_leaves("custom_root", initial_guess)
    system = system_of("custom_root", f, leaves, tree)
    closed_over = closure_tracers(tangent_solve)
    solver = _record_solver(system, solve, has_aux, closed_over)
    root = _Root(system, tangent_solve, symmetric, len(solver.consts), closed_over)
    params = {
        "graph": solver.graph,
        "jvp": Thunk(f"{solver.graph.name}_tangent", root.rule),
        "num_consts": 0,  # what the solver reads may have tangents; the root does not depend on it
        "symbolic_zeros": True,
    }
    root.params.update(params)
    outputs = _run(custom_jvp_call, (*solver.consts, *system.consts), leaves, params)
    n = len(leaves)
    x = jax.tree.unflatten(tree, outputs[:n])
    return (x, jax.tree.unflatten(solver.aux_tree, outputs[n:])) if has_aux else x


class _Root:
    """The forward rule of one root: extra | consts | start, tangents -> x | aux, tangents of x.

    The last of the extra operands are what `tangent_solve` closes over.
    """

    def __init__(
        self,
        system: System,
        tangent_solve: Callable[[Function, Any], Any],
        symmetric: bool,
        n_extra: int,
        closed_over: Sequence[Any],
    ) -> None:
        self.system, self.tangent_solve, self.symmetric = system, tangent_solve, symmetric
        self.n_extra, self.closed_over = n_extra, tuple(closed_over)
        self.params: dict[str, Any] = {}

    def rule(self, nonzero: Flags) -> tuple[Graph, Flags]:
        graph, n_x = self.params["graph"], len(self.system.types)
        inputs = [Value(v.type.strong, v.name) for v in graph.inputs]
        n_consts = len(self.system.consts)
        active = nonzero[self.n_extra : self.n_extra + n_consts]
        tangents = [Value(v.type) for v, f in zip(inputs, nonzero, strict=True) if f]
        b = Builder()
        outputs = b.emit(custom_jvp_call, *inputs, **self.params)
        out_nonzero = [False] * len(outputs)
        dxs: list[Any] = []
        if any(active):
            consts = inputs[self.n_extra : self.n_extra + n_consts]
            extra = inputs[self.n_extra - len(self.closed_over) : self.n_extra]
            rhs = self._forcing(b, consts, outputs[:n_x], active, tangents[: sum(active)])
            if any(not isinstance(r, Zero) for r in rhs):
                dxs = self._solved(b, extra, consts, outputs[:n_x], rhs)
                out_nonzero[:n_x] = [True] * n_x
        made = b.graph((*inputs, *tangents), (*outputs, *dxs), f"{graph.name}.jvp")
        return made, tuple(out_nonzero)

    def _forcing(
        self, b: Builder, consts: Any, x: Any, active: Flags, dconsts: Sequence[Value]
    ) -> list[Any]:
        """-f_c dc, a Zero where there is none."""
        f = self.system.graph
        forward, nonzero = jvp_graph(f, (*active, *(False for _ in x)))
        found = iter(b.inline(forward, (*consts, *x, *dconsts))[len(f.outputs) :])
        return [
            b.neg(next(found)) if nz else Zero(t)
            for nz, t in zip(nonzero, self.system.types, strict=True)
        ]

    def _solved(
        self, b: Builder, extra: Sequence[Value], consts: Any, x: Any, rhs: Sequence[Any]
    ) -> list[Any]:
        """The dx with f_x dx = rhs."""
        residuals, forward, transposed = self._derivative(b, consts, x)
        solve = _record_solver(forward, self.tangent_solve, aliases=self.closed_over)
        back = solve
        if transposed is not forward:
            back = _record_solver(transposed, self.tangent_solve, aliases=self.closed_over)
        _, params = _solve_operands(forward, transposed, solve, back)
        operands = (*residuals, *residuals, *extra, *residuals, *extra, *residuals)
        atoms = [b.instantiate(r) for r in rhs]
        return list(b.emit(linear_solve_p, *operands, *atoms, **params))

    def _derivative(self, b: Builder, consts: Any, x: Any) -> tuple[list[Atom], System, System]:
        """Residuals, and f_x and its transpose as systems that take them as consts."""
        f, types = self.system.graph, self.system.types
        parts = linearize_graph(f, (*(False for _ in consts), *(True for _ in x)))
        found = b.inline(parts.primal, (*consts, *x))
        residuals = found[len(f.outputs) :]
        matvec = _with_all_outputs(parts.linear, parts.nonzero, types)
        kinds = matvec.input_types[: len(residuals)]
        forward = System(matvec, kinds, self.system.tree, types)
        if self.symmetric:
            return residuals, forward, forward
        every = linear_flags(matvec)
        back, _ = transpose_graph(matvec, every, force=every)
        return residuals, forward, System(back, kinds, self.system.tree, types)


def _with_all_outputs(linear: Graph, nonzero: Sequence[bool], types: Sequence[TensorType]) -> Graph:
    """A linear graph that also returns the tangents that are zero."""
    b = Builder()
    for eqn in linear.equations:
        b.append(eqn)
    found = iter(linear.outputs)
    outputs = [next(found) if nz else Zero(t) for nz, t in zip(nonzero, types, strict=True)]
    made = b.graph(linear.inputs, outputs, linear.name)
    return Graph(made.inputs, made.equations, made.outputs, made.name, linear.linear_from)
