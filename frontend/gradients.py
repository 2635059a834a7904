"""`grad` and `value_and_grad`, with JAX's signatures and conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.graph import Graph
from ..ir.sizes import read_size
from ..ir.types import has_tangent
from ..passes import watched
from ..passes.asking import having
from .arguments import (
    check_argnums,
    check_callable,
    check_grad_inputs,
    check_no_refs,
    check_reduce_axes,
    check_scalar_output,
)
from .avals import SymbolicSizesError, type_of
from .error_types import as_jax_errors
from .execute import execute
from .ref_args import check_no_tangents, write_refs
from .staged import Staged
from .staging import divide, function_name, stage, wraps
from .symbolic_sizes import or_by_jax
from .tangents import float0_zeros
from .varying import TRANSPOSED_SUMS, check_pulled, check_sums


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
    *,
    memory_budget: int | str | None = None,
) -> Callable[..., Any]:
    """A function of fun's arguments that returns (fun's value, gradient), as `jax.value_and_grad`.

    fun returns a real scalar (complex if `holomorphic`); with `has_aux`, a pair of it and anything,
    and then the value returned is that pair. The gradient has the structure of the argument at
    `argnums`, or is a tuple of such for several. `reduce_axes` must be empty, as in JAX.
    `memory_budget` ("24MiB", or bytes) is the temporary memory that computing both may need: see
    `compile`.

    Raises ArgumentError (a TypeError) for outputs and inputs that have no such gradient.
    """
    check_reduce_axes("value_and_grad", reduce_axes)
    how = (argnums, has_aux, holomorphic, allow_int, memory_budget)
    return _value_and_grad(fun, *how, with_value=True)


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
    *,
    memory_budget: int | str | None = None,
) -> Callable[..., Any]:
    """A function of fun's arguments that returns fun's gradient, as `jax.grad`.

    With `has_aux`, it returns (gradient, auxiliary output). See `value_and_grad`.
    """
    check_reduce_axes("grad", reduce_axes)
    how = (argnums, has_aux, holomorphic, allow_int, memory_budget)
    differentiate = _value_and_grad(fun, *how, with_value=False)

    @wraps(fun, "Gradient")
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
    check_callable(fun, "value_and_grad" if with_value else "grad")
    budget = None if memory_budget is None else read_size(memory_budget)

    def by_jax(*args: Any, **kwargs: Any) -> Any:
        if budget is not None:
            raise SymbolicSizesError("a memory budget is for a program of known sizes")
        options = (argnums, has_aux, holomorphic, allow_int)
        return jax.value_and_grad(fun, *options)(*args, **kwargs)

    @wraps(fun, "Value and gradient")
    @or_by_jax(by_jax)
    def value_and_grad_fun(*args: Any, **kwargs: Any) -> Any:
        wanted = check_argnums(fun, argnums, len(args))
        leaves, in_tree = jax.tree.flatten((args, kwargs))
        spans = _leaf_spans(args)
        chosen = {j for i in wanted for j in spans[i]}
        arrays, types, held = divide(leaves, [j in chosen for j in range(len(leaves))])
        active = [j in chosen for j in range(len(leaves)) if j not in held]
        check_no_refs("grad", [args[i] for i in wanted])
        check_grad_inputs(types, active, holomorphic, allow_int)
        moves = [a and has_tangent(t) for a, t in zip(active, types, strict=True)]
        staged = stage(
            fun, arrays, in_tree, types=types, has_aux=has_aux, known=arrays, held=held,
            active=active, as_given=[not m for m in moves], takes_refs=True, carries=True,
            moves=moves,
        )  # fmt: skip
        check_scalar_output(fun, staged, holomorphic)
        flags = staged.active(moves)
        with as_jax_errors(), having(staged.known):
            if staged.written:
                _check_writes(fun, staged, flags)
            n_beside = len(staged.graph.outputs) - staged.n_out
            seeds = staged.in_backward(arrays) if staged.carried else ()
            graph = watched.grad(staged.graph, flags, n_beside, with_value, seeds)
        operands = staged.operands(arrays)
        check_pulled(function_name(fun), operands, flags)
        check_sums(function_name(fun), graph, TRANSPOSED_SUMS)
        outputs = _executed(graph, operands, budget)
        outputs = _of_their_own(graph, outputs, staged.n_aux + with_value)
        if staged.written:
            outputs = _settled(staged, outputs, with_value)
        staged.is_over()
        value, cts = _split(staged, outputs, with_value)
        gradients = [_gradient(args[i], cts) for i in sorted(set(wanted))]
        by_number = dict(zip(sorted(set(wanted)), gradients, strict=True))
        if isinstance(argnums, (int, np.integer)):
            return value, by_number[wanted[0]]
        return value, tuple([by_number[i] for i in wanted])

    return value_and_grad_fun


def _check_writes(fun: Any, staged: Staged, flags: Sequence[bool]) -> None:
    """Raise UsageError where what is differentiated is written to where its derivative is lost."""
    _, nonzero = watched.jvp(staged.graph, flags)
    check_no_tangents(function_name(fun), staged.written, nonzero[staged.n_results :])


def _executed(graph: Graph, operands: Sequence[Any], budget: int | None) -> list[Any]:
    if budget is None:
        return execute(graph, operands)
    from .budget import execute_within  # the planner is loaded when it is asked for

    return execute_within(graph, operands, budget)


def _of_their_own(graph: Graph, outputs: list[Any], n_values: int) -> list[Any]:
    """The outputs, where gradients are new arrays, which whoever gets them may give away, though
    some have the numbers of an argument."""
    given = set(graph.inputs)
    for i in range(n_values, len(outputs)):
        if graph.outputs[i] in given and not isinstance(outputs[i], jax.core.Tracer):
            outputs[i] = jnp.copy(outputs[i])
    return outputs


def _settled(staged: Staged, outputs: Sequence[Any], with_value: bool) -> list[Any]:
    """The flat outputs of a gradient program, without those that mutable arrays hold now."""
    flat = staged.settle(outputs if with_value else [None, *outputs])
    n, refs = staged.n_results, staged.carried
    write_refs(refs, flat[n : n + len(refs)])
    del flat[n : n + len(refs)]
    return flat if with_value else flat[1:]


def _split(staged: Staged, outputs: list[Any], with_value: bool) -> tuple[Any, Iterator[Any]]:
    """The flat outputs of a gradient program: value or (value, aux), and the flat gradients."""
    n_values = staged.n_aux + with_value
    values = outputs[:n_values]
    value = jax.tree.unflatten(staged.out_tree, values[:1]) if with_value else None
    if staged.aux_tree is not None:
        value = (value, staged.aux_tree.nest(values[with_value:]))
    return value, iter(outputs[n_values:])


def _gradient(argument: Any, cts: Iterator[Any]) -> Any:
    """The next of the flat gradients, nested as an argument."""
    leaves, tree = jax.tree.flatten(argument)
    types = [type_of(x) for x in leaves]
    flat = [next(cts) if has_tangent(t) else float0_zeros(t) for t in types]
    return jax.tree.unflatten(tree, flat)


def _leaf_spans(args: Sequence[Any]) -> list[range]:
    """For each argument the positions of its leaves among those of all."""
    spans, start = [], 0
    for arg in args:
        n = len(jax.tree.leaves(arg))
        spans.append(range(start, start + n))
        start += n
    return spans
