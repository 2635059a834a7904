"""`grad`, `value_and_grad`, `jvp`, `vjp`, `linearize`, with JAX's signatures and conventions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

from ..ir.errors import ArgumentError
from ..ir.graph import Graph
from ..ir.sizes import read_size
from ..ir.types import TensorType, dtype_category, has_tangent
from ..passes.forward_rules import with_forward_rules
from ..passes.jvp import jvp_graph
from ..passes.linearize import linearize_graph
from ..passes.reverse import grad_graph
from ..passes.transpose import linear_flags, transpose_graph
from .arguments import check_argnums, check_grad_inputs, check_scalar_output, tangent_leaves
from .avals import to_jax_dtype, type_of
from .budget import execute_within
from .execute import execute
from .staging import Staged, function_name, stage

FLOAT0 = jax.dtypes.float0

Function = TypeVar("Function", bound=Callable[..., Any])


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    memory_budget: int | str | None = None,
) -> Callable[..., Any]:
    """A function of fun's arguments that returns (fun's value, gradient), as `jax.value_and_grad`.

    fun returns a real scalar (complex if `holomorphic`); with `has_aux`, a pair of it and anything,
    and then the value returned is that pair. The gradient has the structure of the argument at
    `argnums`, or is a tuple of such for several. `memory_budget` ("24MiB", or bytes) is the
    temporary memory that computing both may need: see `compile`.

    Raises ArgumentError (a TypeError) for outputs and inputs that have no such gradient.
    """
    how = (argnums, has_aux, holomorphic, allow_int, memory_budget)
    return _value_and_grad(fun, *how, with_value=True)


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    memory_budget: int | str | None = None,
) -> Callable[..., Any]:
    """A function of fun's arguments that returns fun's gradient, as `jax.grad`.

    With `has_aux`, it returns (gradient, auxiliary output). See `value_and_grad`.
    """
    how = (argnums, has_aux, holomorphic, allow_int, memory_budget)
    differentiate = _value_and_grad(fun, *how, with_value=False)

    @_wraps(fun, "grad")
    def grad_fun(*args: Any, **kwargs: Any) -> Any:
        value, gradient = differentiate(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return grad_fun


def _value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    memory_budget: int | str | None,
    with_value: bool,
) -> Callable[..., Any]:
    budget = None if memory_budget is None else read_size(memory_budget)

    @_wraps(fun, "value_and_grad")
    def value_and_grad_fun(*args: Any, **kwargs: Any) -> Any:
        wanted = check_argnums(fun, argnums, len(args))
        leaves, in_tree = jax.tree.flatten((args, kwargs))
        spans = _leaf_spans(args)
        active = [False] * len(leaves)
        for i in wanted:
            for j in spans[i]:
                active[j] = True
        types = [type_of(x) for x in leaves]
        check_grad_inputs(types, active, holomorphic, allow_int)
        staged = stage(fun, leaves, in_tree, types=types, has_aux=has_aux, known=leaves)
        check_scalar_output(fun, staged, holomorphic)
        flags = staged.active([a and has_tangent(t) for a, t in zip(active, types, strict=True)])
        graph = grad_graph(staged.graph, flags, staged.n_aux, with_value)
        operands = (*staged.captured, *leaves)
        outputs = (
            execute(graph, operands) if budget is None else execute_within(graph, operands, budget)
        )
        return _assemble(staged, outputs, args, wanted, spans, types, with_value, argnums)

    return value_and_grad_fun


def _assemble(
    staged: Staged,
    outputs: list[Any],
    args: tuple[Any, ...],
    wanted: Sequence[int],
    spans: Sequence[range],
    types: Sequence[TensorType],
    with_value: bool,
    argnums: int | Sequence[int],
) -> tuple[Any, Any]:
    """Nest the flat outputs of a gradient program: (value or (value, aux), gradients)."""
    n_values = staged.n_aux + with_value
    values, cts = outputs[:n_values], iter(outputs[n_values:])
    value = jax.tree.unflatten(staged.out_tree, values[:1]) if with_value else None
    if staged.aux_tree is not None:
        value = (value, jax.tree.unflatten(staged.aux_tree, values[with_value:]))
    gradients = []
    for i in wanted:
        leaves = [next(cts) if has_tangent(types[j]) else float0_zeros(types[j]) for j in spans[i]]
        gradients.append(jax.tree.unflatten(jax.tree.structure(args[i]), leaves))
    return value, (gradients[0] if isinstance(argnums, (int, np.integer)) else tuple(gradients))


def _leaf_spans(args: Sequence[Any]) -> list[range]:
    """For each argument the positions of its leaves among those of all."""
    spans, start = [], 0
    for arg in args:
        n = len(jax.tree.leaves(arg))
        spans.append(range(start, start + n))
        start += n
    return spans


def float0_zeros(type: TensorType) -> Any:
    """The tangent of integers and booleans: zeros of the dtype that holds nothing else."""
    return np.zeros(type.shape, FLOAT0)


# -- jvp -------------------------------------------------------------------------------------------


def jvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
    *,
    custom_vjp: str = "error",
) -> Any:
    """(fun(*primals), derivative of fun at primals along tangents), as `jax.jvp`.

    With `has_aux`, a third item is fun's auxiliary output. Functions with a custom_vjp rule have no
    forward rule: they are an error as in JAX, or, with `custom_vjp="transpose"`, differentiated by
    the transpose of their backward rule, which must be linear in its cotangents.

    Raises ArgumentError where tangents do not match the primals in structure, shape or dtype.
    """
    if custom_vjp not in ("error", "transpose"):
        raise ArgumentError(f'custom_vjp is "error" or "transpose", got {custom_vjp!r}')
    leaves, in_tree = _primal_leaves("jvp", primals)
    types = [type_of(x) for x in leaves]
    dxs, active = tangent_leaves(primals, tangents, types)
    staged = stage(fun, leaves, in_tree, types=types, has_aux=has_aux, known=leaves)
    primal = with_forward_rules(staged.graph) if custom_vjp == "transpose" else staged.graph
    graph, nonzero = jvp_graph(primal, staged.active(active))
    live = [dx for dx, a in zip(dxs, active, strict=True) if a]
    outputs = execute(graph, (*staged.captured, *leaves, *live))
    n = len(staged.graph.outputs)
    out, aux = _split_outputs(staged, outputs[:n])
    moved = iter(outputs[n:])
    out_tangents = []
    for i, y in enumerate(staged.graph.outputs):
        tangent = next(moved) if nonzero[i] else zero_tangent(y.type)
        if i < staged.n_out:
            out_tangents.append(tangent)
    result = (out, jax.tree.unflatten(staged.out_tree, out_tangents))
    return (*result, aux) if has_aux else result


def zero_tangent(type: TensorType) -> Any:
    """A tangent of zeros for a value of this type."""
    if not has_tangent(type):
        return float0_zeros(type)
    zeros: Any = jax.numpy.zeros(type.shape, to_jax_dtype(type.dtype))
    return zeros


def _primal_leaves(name: str, primals: Any) -> tuple[list[Any], Any]:
    if not isinstance(primals, (tuple, list)):
        raise ArgumentError(
            f"{name} takes the primals as a tuple or list, one item for each argument; "
            f"got {type(primals).__name__}"
        )
    return jax.tree.flatten((tuple(primals), {}))


def _split_outputs(staged: Staged, flat: Sequence[Any]) -> tuple[Any, Any]:
    out = jax.tree.unflatten(staged.out_tree, flat[: staged.n_out])
    if staged.aux_tree is None:
        return out, None
    return out, jax.tree.unflatten(staged.aux_tree, flat[staged.n_out :])


# -- linearize and vjp ----------------------------------------------------------------------------


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(fun(*primals), the linear function that maps tangents to output tangents there).

    As `jax.linearize`. The linear function may be called often; it is compiled once.
    With `has_aux`, a third item is fun's auxiliary output.
    """
    return _at_point(LinearFunction, fun, primals, has_aux)


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(fun(*primals), the function that maps an output cotangent to input cotangents there).

    As `jax.vjp`: that function takes one argument, nested as fun's output, and returns a tuple with
    a cotangent for each primal. It is a pytree, so it may leave a jitted function.
    With `has_aux`, a third item is fun's auxiliary output.
    """
    return _at_point(PullBack, fun, primals, has_aux)


def _at_point(
    kind: type[_AtPoint], fun: Callable[..., Any], primals: Sequence[Any], has_aux: bool
) -> Any:
    """Run the primal half of a function; its output, and the linear half as a pytree."""
    leaves, in_tree = _primal_leaves("linearize", primals)
    types = [type_of(x) for x in leaves]
    staged = stage(fun, leaves, in_tree, types=types, has_aux=has_aux, known=leaves)
    parts = linearize_graph(staged.graph, staged.active([has_tangent(t) for t in types]))
    n, n_out = len(staged.graph.outputs), staged.n_out
    outputs = execute(parts.primal, (*staged.captured, *leaves))
    out, aux = _split_outputs(staged, outputs[:n])
    apply = kind(
        graph=_without_aux(parts.linear, parts.nonzero, n_out),
        nonzero=parts.nonzero[:n_out],
        types=tuple(types),
        in_tree=in_tree,
        out_tree=staged.out_tree,
        out_types=staged.graph.output_types[:n_out],
        name=function_name(fun),
    )
    result = (out, jax.tree_util.Partial(apply, tuple(outputs[n:])))
    return (*result, aux) if has_aux else result


def _without_aux(linear: Graph, nonzero: Sequence[bool], n_out: int) -> Graph:
    """The linear half without tangents of auxiliary outputs."""
    kept = sum(nonzero[:n_out])
    if kept == len(linear.outputs):
        return linear
    outputs = linear.outputs[:kept]
    return Graph(linear.inputs, linear.equations, outputs, linear.name, linear.linear_from)


@dataclass(frozen=True)
class _AtPoint:
    """The static part of a linear function at a point; residuals are passed as first argument.

    graph: (residuals, tangents of the inputs that have them) -> tangents of nonzero outputs.
    types, in_tree: of the primals; out_types, out_tree: of the output.
    """

    graph: Graph
    nonzero: tuple[bool, ...]
    types: tuple[TensorType, ...]
    in_tree: Any
    out_tree: Any
    out_types: tuple[TensorType, ...]
    name: str


class LinearFunction(_AtPoint):
    """Maps tangents of the primals to tangents of the output."""

    def __call__(self, residuals: Sequence[Any], *tangents: Any) -> Any:
        primals = jax.tree.unflatten(self.in_tree, self.types)[0]
        dxs, active = tangent_leaves(primals, tangents, self.types)
        live = [
            dx if a else zero_tangent(t)
            for dx, a, t in zip(dxs, active, self.types, strict=True)
            if has_tangent(t)
        ]
        moved = iter(execute(self.graph, (*residuals, *live)))
        flat = [
            next(moved) if nz else zero_tangent(t)
            for nz, t in zip(self.nonzero, self.out_types, strict=True)
        ]
        return jax.tree.unflatten(self.out_tree, flat)


class PullBack(_AtPoint):
    """Maps a cotangent of the output to cotangents of the primals."""

    def __call__(self, residuals: Sequence[Any], *cotangents: Any) -> tuple[Any, ...]:
        flat = self._cotangent_leaves(cotangents)
        live = [ct for ct, nz in zip(flat, self.nonzero, strict=True) if nz]
        backward, has_ct = transpose_graph(self.graph, linear_flags(self.graph))
        pulled = iter(execute(backward, (*residuals, *live)))
        flags = iter(has_ct)
        leaves = []
        for t in self.types:
            if not has_tangent(t):
                leaves.append(float0_zeros(t))
            else:
                leaves.append(next(pulled) if next(flags) else zero_tangent(t))
        args: tuple[Any, ...] = jax.tree.unflatten(self.in_tree, leaves)[0]
        return args

    def _cotangent_leaves(self, cotangents: tuple[Any, ...]) -> list[Any]:
        if len(cotangents) != 1:
            raise ArgumentError(
                f"the pull-back of {self.name} takes one argument, the cotangent of its one output "
                f"(a tuple, if the output is a tuple); it was called with {len(cotangents)}",
                hint="pass f_vjp((a, b)) rather than f_vjp(a, b); to push input perturbations "
                "forward, use covector.jvp or covector.linearize",
            )
        flat, tree = jax.tree.flatten(cotangents[0])
        if tree != self.out_tree:
            raise ArgumentError(
                f"the cotangent given to the pull-back of {self.name} must be nested as its "
                f"output: {self.out_tree}; got {tree}"
            )
        for i, (ct, t) in enumerate(zip(flat, self.out_types, strict=True)):
            _check_cotangent(self.name, i, ct, t)
        return flat


def _check_cotangent(name: str, i: int, ct: Any, want: TensorType) -> None:
    if not has_tangent(want):
        return
    got = type_of(ct)
    if got.shape != want.shape or (
        got.dtype != want.dtype and not (got.weak and dtype_category(got.dtype) != "complex")
    ):
        raise ArgumentError(
            f"cotangent {i} given to the pull-back of {name} has type {got}; the output there has "
            f"type {want}"
        )


def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a function that is linear in all of its arguments, as
    `jax.linear_transpose`.

    Only shapes and dtypes of `primals` matter. The result takes one argument, a cotangent nested as
    fun's output, and returns a tuple with a cotangent for each argument.

    Raises MissingRule when it meets an operation that is not linear, when it is called.
    """
    leaves, in_tree = _primal_leaves("linear_transpose", primals)
    types = [type_of(x) for x in leaves]
    for t in types:
        if not has_tangent(t):
            raise ArgumentError(
                f"linear_transpose takes float or complex arguments, got one of type {t}"
            )
    staged = stage(fun, leaves, in_tree, types=types)
    graph = staged.graph
    linear = Graph(
        graph.inputs, graph.equations, graph.outputs, graph.name, linear_from=staged.n_captured
    )
    pull_back = PullBack(
        graph=linear,
        nonzero=(True,) * staged.n_out,
        types=tuple(types),
        in_tree=in_tree,
        out_tree=staged.out_tree,
        out_types=graph.output_types,
        name=function_name(fun),
    )
    return jax.tree_util.Partial(pull_back, staged.captured)


def _wraps(fun: Callable[..., Any], transformation: str) -> Callable[[Function], Function]:
    """Dress a transformed function with the name and documentation of the function."""

    def dress(wrapper: Function) -> Function:
        functools.update_wrapper(wrapper, fun)
        wrapper.__doc__ = f"{transformation} of {function_name(fun)}.\n\n{fun.__doc__ or ''}"
        return wrapper

    return dress
