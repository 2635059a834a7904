"""`linearize`, `vjp` and `linear_transpose`: linear functions at a point, as pytrees."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..ir.errors import ArgumentError, UsageError
from ..ir.graph import Graph, Thunk, Value, memoised
from ..ir.module import Module
from ..ir.ops.call import custom_vjp_linear
from ..ir.types import TensorType, dtype_category, has_tangent
from ..lowering.jax_compat import boundary
from ..passes import watched
from ..passes.asking import having
from ..passes.dce import remove_dead
from ..passes.transpose import cotangent_name
from .arguments import check_callable, check_reduce_axes
from .avals import type_of
from .cells import is_ref
from .error_types import as_jax_errors
from .execute import execute
from .known import KnownValues
from .modules import to_jaxpr
from .pulled import Pulled, sources
from .ref_args import check_no_tangents, read_refs, write_refs
from .staging import function_name, split_outputs, stage, types_of
from .symbolic_sizes import or_by_jax
from .tangents import cotangent_leaves, float0_zeros, tangent_leaves, zero_tangent, zeros_of
from .varying import axes_of, check_cotangents, check_pulled, check_sums


@boundary
@or_by_jax(jax.linearize)
def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(fun(*primals), the linear function that maps tangents to output tangents there).

    As `jax.linearize`. The linear function may be called often; it is compiled once.
    With `has_aux`, a third item is fun's auxiliary output.
    """
    check_callable(fun, "linearize")
    return _at_point(LinearFunction, fun, primals, has_aux)


@boundary
@or_by_jax(jax.vjp)
def vjp(
    fun: Callable[..., Any], *primals: Any, has_aux: bool = False, reduce_axes: Sequence[Any] = ()
) -> Any:
    """(fun(*primals), the function that maps an output cotangent to input cotangents there).

    As `jax.vjp`: that function takes one argument, nested as fun's output, and returns a tuple with
    a cotangent for each primal. It is a pytree, so it may leave a jitted function.
    With `has_aux`, a third item is fun's auxiliary output. `reduce_axes` must be empty, as in JAX.

    The pull-back raises ArgumentError (a TypeError) unless it is called with one argument,
    UsageError (a ValueError) if that is not nested and typed as fun's output.
    """
    check_callable(fun, "vjp")
    check_reduce_axes("vjp", reduce_axes)
    return _at_point(PullBack, fun, primals, has_aux)


def _at_point(
    kind: type[_AtPoint], fun: Callable[..., Any], primals: Sequence[Any], has_aux: bool
) -> Any:
    """Run the primal half of a function; its output, and the linear half as a pytree."""
    leaves, in_tree = jax.tree.flatten((primals, {}))
    types = types_of(fun, leaves, in_tree)
    moves = [has_tangent(t) and not is_ref(x) for x, t in zip(leaves, types, strict=True)]
    staged = stage(
        fun, leaves, in_tree, types=types, has_aux=has_aux, known=leaves, moves=moves,
        as_given=[not has_tangent(t) for t in types], takes_refs=True, carries=kind is PullBack,
    )  # fmt: skip
    with as_jax_errors():
        parts = watched.linearize(staged.graph, staged.active(moves))
    n, n_out = staged.n_results, staged.n_out
    check_no_tangents(function_name(fun), staged.written, parts.nonzero[n:])
    operands = staged.operands(leaves)
    if kind is PullBack:
        check_pulled(function_name(fun), operands, staged.active(moves))
        check_sums(function_name(fun), parts.linear)
    outputs = staged.settle(execute(parts.primal, operands))
    out, aux = split_outputs(staged, outputs[:n])
    carried = [i for i, _ in staged.in_backward(leaves)] if staged.carried else []
    apply = kind(
        graph=_without_others(parts.linear, parts.nonzero, n_out, carried),
        nonzero=parts.nonzero[:n_out],
        types=tuple(types),
        in_tree=in_tree,
        out_tree=staged.out_tree,
        out_types=staged.graph.output_types[:n_out],
        name=function_name(fun),
        n_refs=len(carried),
        are_refs=tuple(map(is_ref, leaves)),
        axes=axes_of(operands),
    )
    residuals = (*outputs[n:], *staged.carried)
    at: Any
    if isinstance(apply, PullBack):
        origin = sources(parts.primal, len(staged.graph.outputs), len(staged.captured))
        origin += (None,) * len(carried)
        at = Pulled.at(apply, origin, residuals)
    else:
        at = jax.tree_util.Partial(apply, residuals)
    return (out, at, aux) if has_aux else (out, at)


def _without_others(
    linear: Graph, nonzero: Sequence[bool], n_out: int, carried: Sequence[int]
) -> Graph:
    """The linear half without tangents of auxiliary outputs; those of second values stay."""
    places = [i for i, nz in enumerate(nonzero) if nz]
    outputs = [x for i, x in zip(places, linear.outputs, strict=True) if i < n_out or i in carried]
    if len(outputs) == len(linear.outputs):
        return linear
    return Graph(linear.inputs, linear.equations, outputs, linear.name, linear.linear_from)


@dataclass(frozen=True)
class _AtPoint:
    """The static part of a linear function at a point; residuals are passed as first argument.

    graph: (residuals, tangents of the inputs that have them) -> tangents of nonzero outputs.
    types, in_tree: of the primals; out_types, out_tree: of the output.
    n_refs: how many mutable arrays backward rules may write to; these are the last residuals, their
      second values the first inputs that have tangents, and the last outputs.
    are_refs: which primals are mutable arrays: these have no tangents here.
    axes: along which axes of a shard_map around it what it is computed from differs.
    """

    graph: Graph
    nonzero: tuple[bool, ...]
    types: tuple[TensorType, ...]
    in_tree: Any
    out_tree: Any
    out_types: tuple[TensorType, ...]
    name: str
    n_refs: int = 0
    are_refs: tuple[bool, ...] = ()
    axes: frozenset[Any] | None = None


class LinearFunction(_AtPoint):
    """Maps tangents of the primals to tangents of the output."""

    @property
    def args(self) -> tuple[Any, ...]:
        """The linear program as a jaxpr, where JAX's linearized functions have theirs."""
        return (to_jaxpr(Module({self.graph.name: self.graph})),)

    @boundary
    def __call__(self, residuals: Sequence[Any], *tangents: Any) -> Any:
        primals = jax.tree.unflatten(self.in_tree, self.types)[0]
        caller = f"the linearized {self.name}"
        if any(self.are_refs):
            raise UsageError(
                f"{caller} takes no tangents of mutable arrays, which {self.name} has as arguments",
                hint="use covector.jvp, which does, or close over the arrays",
            )
        dxs, active = tangent_leaves(primals, tangents, self.types, caller, UsageError)
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

    @boundary
    def __call__(self, residuals: Sequence[Any], *cotangents: Any) -> tuple[Any, ...]:
        leaves = self.flat_cotangents(residuals, cotangents)
        args: tuple[Any, ...] = jax.tree.unflatten(self.in_tree, leaves)[0]
        return args

    def flat_cotangents(
        self,
        residuals: Sequence[Any],
        cotangents: tuple[Any, ...],
        wanted: tuple[bool, ...] | None = None,
    ) -> list[Any]:
        """The cotangents of the primals' leaves; nothing is computed for those not `wanted`, whose
        places hold None."""
        flat, moves = self._cotangent_leaves(cotangents), self._moves(wanted)
        n, n_refs = len(residuals) - self.n_refs, self.n_refs
        residuals, refs = residuals[:n], residuals[n:]
        live = [ct for ct, nz in zip(flat, self.nonzero, strict=True) if nz]
        check_cotangents(self.name, live, self.axes)
        live += read_refs(refs)
        backward, has_ct = self._transposed((*residuals, *live))
        if wanted is not None:
            asked = [w for w, m in zip(wanted, moves, strict=True) if m]
            backward, has_ct = _only(backward, has_ct, ((True,) * n_refs) + tuple(asked))
        pulled = iter(execute(backward, (*residuals, *live)))
        written = [ref for ref, is_made in zip(refs, has_ct, strict=False) if is_made]
        write_refs(written, list(itertools.islice(pulled, len(written))))
        flags = iter(has_ct[n_refs:])
        leaves: list[Any] = []
        for i, t in enumerate(self.types):
            is_made = moves[i] and next(flags)
            if wanted is not None and not wanted[i]:
                leaves.append(None)
            elif is_made:
                leaves.append(next(pulled))
            else:
                leaves.append(zeros_of(t) if self._has_cotangent(t) else float0_zeros(t))
        return leaves

    def _has_cotangent(self, type: TensorType) -> bool:
        return has_tangent(type)

    def _moves(self, wanted: tuple[bool, ...] | None) -> list[bool]:
        """Which primals have cotangents: mutable arrays do not. Raises UsageError if theirs are
        wanted."""
        are_refs = self.are_refs or (False,) * len(self.types)
        for is_held, is_wanted in zip(are_refs, wanted or are_refs, strict=True):
            if is_held and is_wanted:
                raise UsageError(
                    f"the pull-back of {self.name} has no cotangent for a mutable array, which it "
                    "has as an argument",
                    hint="use with_refs with jax.ad.DontWant() in its place, or close over it",
                )
        return [
            self._has_cotangent(t) and not is_held
            for t, is_held in zip(self.types, are_refs, strict=True)
        ]

    def _transposed(self, operands: Sequence[Any]) -> tuple[Graph, tuple[bool, ...]]:
        """The backward program; where rules are Python that may branch on values, the one for these
        residuals and cotangents."""
        graph = self.graph
        if not _has_python_rules(graph):
            return watched.transpose(graph)
        cts = [Value(y.type, cotangent_name(y.name)) for y in graph.outputs]
        known = KnownValues(operands)
        known.bind([*graph.inputs[: graph.linear_from], *cts])
        with having(known):
            return watched.transpose(graph, cts)

    def _cotangent_leaves(self, cotangents: tuple[Any, ...]) -> list[Any]:
        if len(cotangents) != 1:
            raise ArgumentError(
                f"the function returned by vjp applied to {self.name} was called with "
                f"{len(cotangents)} arguments; it takes one, the cotangent of the one value that "
                f"{self.name} returns (a tuple, if that value is a tuple)",
                hint=_ONE_COTANGENT,
            )
        return cotangent_leaves(
            self.name, cotangents[0], self.out_tree, self.out_types, self._has_cotangent
        )


def _only(
    backward: Graph, has_ct: tuple[bool, ...], wanted: tuple[bool, ...]
) -> tuple[Graph, tuple[bool, ...]]:
    """A backward program that makes the wanted cotangents only, and which of them it makes."""

    def prune() -> Graph:
        kept = [w for w, h in zip(wanted, has_ct, strict=True) if h]
        outputs = [x for x, k in zip(backward.outputs, kept, strict=True) if k]
        whole = Graph(
            backward.inputs, backward.equations, outputs, backward.name, backward.linear_from
        )
        return remove_dead(whole)

    pruned: Graph = memoised(backward, ("only", wanted), prune)
    return pruned, tuple([h and w for h, w in zip(has_ct, wanted, strict=True)])


def _has_python_rules(graph: Graph) -> bool:
    def search() -> bool:
        return any(
            eqn.primitive is custom_vjp_linear and isinstance(eqn.params["bwd"], Thunk)
            for eqn in graph.equations
        )

    found: bool = memoised(graph, "python rules", search)
    return found


_ONE_COTANGENT = """for example, of a function that returns a pair:
      y, f_vjp = covector.vjp(lambda x: (x, 2 * x), 1.0)
      (ct_x,) = f_vjp((1.0, 1.0))    # not f_vjp(1.0, 1.0)
  to push perturbations of the inputs forward, use covector.jvp or covector.linearize"""


class Transposed(PullBack):
    """Maps a cotangent of a linear function's output to its arguments', also integers."""

    def _has_cotangent(self, type: TensorType) -> bool:
        return True

    def _transposed(self, operands: Sequence[Any]) -> tuple[Graph, tuple[bool, ...]]:
        cts = [Value(y.type, cotangent_name(y.name)) for y in self.graph.outputs]
        return watched.transpose(self.graph, cts)

    def _cotangent_leaves(self, cotangents: tuple[Any, ...]) -> list[Any]:
        try:
            return super()._cotangent_leaves(cotangents)
        except UsageError as error:
            what = "tree" if error.claim.startswith("unexpected tree") else "type"
            raise ArgumentError(
                f"cotangent {what} does not match the output of a linear function: {error.claim}"
            ) from None


@boundary
@or_by_jax(jax.linear_transpose)
def linear_transpose(
    fun: Callable[..., Any], *primals: Any, reduce_axes: Sequence[Any] = ()
) -> Callable[..., Any]:
    """The transpose of a function that is linear in all of its arguments, as
    `jax.linear_transpose`.

    Only shapes and dtypes of `primals` matter. The result takes one argument, a cotangent nested as
    fun's output, and returns a tuple with a cotangent for each argument.

    Raises MissingRule when it meets an operation that is not linear, when it is called.
    """
    check_callable(fun, "linear_transpose")
    check_reduce_axes("linear_transpose", reduce_axes)
    leaves, in_tree = jax.tree.flatten((primals, {}))
    types = [_stated_type(x) for x in leaves]
    staged = stage(fun, leaves, in_tree, types=types)
    operands = (*staged.captured, *leaves)
    check_pulled(function_name(fun), operands, staged.active([True] * len(leaves)))
    graph = staged.graph
    check_sums(function_name(fun), graph)
    _check_one_field(types, graph.output_types)
    pull_back = Transposed(
        graph=Graph(
            graph.inputs, graph.equations, graph.outputs, graph.name, linear_from=staged.n_captured
        ),
        nonzero=(True,) * staged.n_out,
        types=tuple(types),
        in_tree=in_tree,
        out_tree=staged.out_tree,
        out_types=graph.output_types,
        name=function_name(fun),
        axes=axes_of(operands),
    )
    return jax.tree_util.Partial(pull_back, staged.captured)


def _stated_type(x: Any) -> TensorType:
    """The type of an array, or of anything else that has a shape and a dtype."""
    if not isinstance(x, (np.ndarray, np.generic)) and not hasattr(x, "aval"):
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
        if isinstance(shape, tuple) and dtype is not None:
            return type_of(jax.ShapeDtypeStruct(shape, dtype))
    return type_of(x)


def _check_one_field(ins: Sequence[TensorType], outs: Sequence[TensorType]) -> None:
    """Raise ArgumentError unless all are float or complex, or all are integers."""
    types = (*ins, *outs)
    integers = [dtype_category(t.dtype) in ("int", "uint") for t in types]
    if not all(map(has_tangent, types)) and not all(integers):
        raise ArgumentError(
            "linear_transpose only supports functions from float or complex to float or complex, "
            "and from integers to integers, "
            f"got one from {', '.join(map(str, ins))} to {', '.join(map(str, outs))}"
        )
