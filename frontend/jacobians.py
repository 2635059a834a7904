"""`jacfwd`, `jacrev`, `hessian`, `hvp`: Jacobians from batched jvp and vjp, nested as JAX's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.errors import ArgumentError, UsageError
from ..ir.types import dtype_category
from ..lowering.jax_compat import boundary
from .arguments import check_argnums, check_callable, check_input, check_output
from .avals import as_weak, type_of
from .forward import jvp
from .gradients import grad
from .jax_compat import cast_as
from .linear import vjp
from .no_numbers import is_float0
from .staging import dress_as, function_name
from .vectorize import vmap


def jacfwd(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of fun, column by column in forward mode, as `jax.jacfwd`.

    For each output leaf a tree of the inputs' structure; leaf shapes are output shape + input
    shape.
    """
    check_callable(fun, "jacfwd")

    @boundary
    def jacobian_fun(*args: Any, **kwargs: Any) -> Any:
        partial, chosen = _at_arguments(fun, argnums, args, kwargs)
        _check_pushed_inputs(chosen, holomorphic)

        def push(tangents: Any) -> Any:
            return jvp(partial, (chosen,), (tangents,), has_aux=has_aux)

        basis = _basis(chosen)
        result = vmap(push, out_axes=(None, -1, None) if has_aux else (None, -1))(basis)
        out, columns = result[0], result[1]
        _check_outputs("jacfwd", partial.__name__, out, holomorphic)
        jacobian = jax.tree.map(
            lambda y, c: _split(chosen, cast_as(y, c), np.ndim(y)), out, columns
        )
        jacobian = _for_argnums(jacobian, out, argnums)
        return (jacobian, result[2]) if has_aux else jacobian

    dress_as(jacobian_fun, fun)
    return jacobian_fun


def jacrev(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of fun, row by row in reverse mode, as `jax.jacrev`.

    For each output leaf a tree of the inputs' structure; leaf shapes are output shape + input
    shape.
    """
    check_callable(fun, "jacrev")

    @boundary
    def jacobian_fun(*args: Any, **kwargs: Any) -> Any:
        partial, chosen = _at_arguments(fun, argnums, args, kwargs)
        _check_inputs(chosen, holomorphic, allow_int)
        result = vjp(partial, chosen, has_aux=has_aux)
        out, pull_back = result[0], result[1]
        _check_outputs("jacrev", partial.__name__, out, holomorphic)
        (rows,) = vmap(pull_back)(_basis(out))
        by_input = jax.tree.map(lambda x, r: _split_rows(out, _numbers(x, r)), chosen, rows)
        jacobian = jax.tree.transpose(jax.tree.structure(chosen), jax.tree.structure(out), by_input)
        jacobian = _for_argnums(jacobian, out, argnums)
        return (jacobian, result[2]) if has_aux else jacobian

    dress_as(jacobian_fun, fun)
    return jacobian_fun


jacobian = jacrev


def hessian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """The Hessian of fun, forward over reverse, as `jax.hessian`."""
    gradient = jacrev(fun, argnums, has_aux=has_aux, holomorphic=holomorphic)
    return jacfwd(gradient, argnums, has_aux=has_aux, holomorphic=holomorphic)


@boundary
def hvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """(gradient of fun, Hessian of fun times tangents), forward over reverse.

    fun takes `*primals` and returns a real scalar. With one primal, gradient and product are nested
    as it; with several, they are tuples.
    """
    if len(primals) == 1:
        gradient: Callable[..., Any] = grad(fun)
    else:
        gradient = grad(fun, argnums=tuple(range(len(primals))))
    value, product = jvp(gradient, primals, tangents)
    return value, product


def _at_arguments(
    fun: Callable[..., Any], argnums: int | Sequence[int], args: Sequence[Any], kwargs: Any
) -> tuple[Callable[[Any], Any], tuple[Any, ...]]:
    """fun as a function of a tuple of the chosen arguments, and that tuple."""
    try:
        wanted = check_argnums(fun, argnums, len(args))
    except ArgumentError as error:  # which JAX calls a ValueError here
        if not all(isinstance(i, (int, np.integer)) for i in np.ravel(argnums)):
            raise
        raise UsageError(error.claim) from None

    def partial(chosen: Sequence[Any]) -> Any:
        full = list(args)
        for i, x in zip(wanted, chosen, strict=True):
            full[i] = x
        return fun(*full, **kwargs)

    partial.__name__ = function_name(fun)
    return partial, tuple(args[i] for i in wanted)


def _for_argnums(jacobian: Any, out: Any, argnums: int | Sequence[int]) -> Any:
    """Drop the tuple around the argument if argnums was one number."""
    if not isinstance(argnums, (int, np.integer)):
        return jacobian
    return jax.tree.map(lambda _, per_argument: per_argument[0], out, jacobian)


def _basis(tree: Any) -> Any:
    """The standard basis of a tree of arrays: the same tree, with a leading basis axis."""
    leaves, structure = jax.tree.flatten(tree)
    types = [type_of(x) for x in leaves]
    total = sum(t.size for t in types)
    dtypes = [jnp.result_type(x) for x in leaves]
    basis, start = [], 0
    for t, dtype in zip(types, dtypes, strict=True):
        block = jnp.eye(total, t.size, k=-start, dtype=dtype)
        basis.append(as_weak(block.reshape(total, *t.shape), t.weak))
        start += t.size
    return jax.tree.unflatten(structure, basis)


def _split(tree: Any, array: Any, rank: int) -> Any:
    """Divide the last axis of an output's columns among the inputs' leaves."""
    leaves, structure = jax.tree.flatten(tree)
    parts, start = [], 0
    for x in leaves:
        t = type_of(x)
        part = jax.lax.slice_in_dim(array, start, start + t.size, axis=rank)
        parts.append(part.reshape((*array.shape[:rank], *t.shape)))
        start += t.size
    return jax.tree.unflatten(structure, parts)


def _numbers(x: Any, rows: Any) -> Any:
    """The rows of an input as values of its type; those of an integer one, which are of the dtype
    of no numbers, as zeros."""
    return jnp.zeros(rows.shape, jnp.result_type(x)) if is_float0(rows) else cast_as(x, rows)


def _split_rows(tree: Any, array: Any) -> Any:
    """Divide the first axis of an input's rows among the outputs' leaves."""
    leaves, structure = jax.tree.flatten(tree)
    parts, start = [], 0
    for y in leaves:
        t = type_of(y)
        part = array[start : start + t.size]
        parts.append(part.reshape((*t.shape, *array.shape[1:])))
        start += t.size
    return jax.tree.unflatten(structure, parts)


def _check_inputs(tree: Any, holomorphic: bool, allow_int: bool) -> None:
    for x in jax.tree.leaves(tree):
        check_input("jacrev", type_of(x), holomorphic, allow_int)


def _check_pushed_inputs(tree: Any, holomorphic: bool) -> None:
    """Raise ArgumentError unless forward mode by these inputs makes columns of a Jacobian."""
    for x in jax.tree.leaves(tree):
        category, dtype = dtype_category(type_of(x).dtype), str(type_of(x).dtype)
        if holomorphic:
            if category != "complex":
                raise ArgumentError(
                    f"jacfwd with holomorphic=True requires inputs with complex dtype, but "
                    f"got {dtype}"
                )
        elif category != "float":
            hint = "use jvp, or convert the input to a float dtype"
            if category == "complex":
                hint = "pass holomorphic=True if the function is holomorphic, use jvp if it is not"
            raise ArgumentError(
                "jacfwd requires real-valued inputs (input dtype that is a sub-dtype of "
                f"np.floating), but got {dtype}",
                hint=hint,
            )


def _check_outputs(caller: str, name: str, tree: Any, holomorphic: bool) -> None:
    for y in jax.tree.leaves(tree):
        if caller == "jacrev" or holomorphic:
            check_output(caller, name, type_of(y), holomorphic)
