"""Checks of the arguments of transformations: JAX's rules, one clear sentence each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..ir.errors import ArgumentError
from ..ir.types import TensorType, dtype_category, dtype_name, has_tangent, is_complex
from .avals import type_of

if TYPE_CHECKING:
    from .staging import Staged


def check_argnums(
    fun: Callable[..., Any], argnums: int | Sequence[int], n_args: int
) -> tuple[int, ...]:
    """Positions from 0, in the order given. Raises ArgumentError, or ValueError if out of range."""
    numbers = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(argnums)
    for i in numbers:
        if not isinstance(i, (int, np.integer)):
            raise ArgumentError(f"argnums takes integers, got {i!r}")
        if not -n_args <= i < n_args:
            name = getattr(fun, "__name__", "the function")
            raise ValueError(
                f"argnums={argnums} asks for argument {i} of {name}, which was called with "
                f"{n_args} positional arguments"
            )
    return tuple(int(i) % n_args for i in numbers)


def check_grad_inputs(
    types: Sequence[TensorType], active: Sequence[bool], holomorphic: bool, allow_int: bool
) -> None:
    """Raise ArgumentError unless gradients by the active inputs are defined."""
    for t, is_active in zip(types, active, strict=True):
        if not is_active:
            continue
        category = dtype_category(t.dtype)
        if holomorphic and category != "complex":
            raise ArgumentError(
                f"grad with holomorphic=True takes complex inputs, got {dtype_name(t.dtype)}"
            )
        if category in ("bool", "int", "uint") and not allow_int:
            raise ArgumentError(
                f"grad takes real- or complex-valued inputs, got {dtype_name(t.dtype)}",
                hint="convert the input to a float dtype, or pass allow_int=True for float0 "
                "gradients",
            )
        if category == "complex" and not holomorphic:
            continue
        if category == "extended" and not allow_int:
            raise ArgumentError(f"grad cannot differentiate inputs of dtype {dtype_name(t.dtype)}")


def check_scalar_output(fun: Callable[..., Any], staged: Staged, holomorphic: bool) -> None:
    """Raise ArgumentError unless the output is one real scalar (complex, if holomorphic)."""
    name = getattr(fun, "__name__", "the function")
    if staged.n_out != 1 or staged.out_tree != jax.tree.structure(0):
        raise ArgumentError(
            f"gradients are defined for functions that return one scalar; {name} returned "
            f"{staged.out_tree}",
            hint="return auxiliary data with has_aux=True, or use vjp or jacrev",
        )
    out = staged.graph.outputs[0].type
    if out.shape != ():
        raise ArgumentError(
            f"gradients are defined for functions that return one scalar; {name} returned an array "
            f"of shape {out.shape}",
            hint="use jacrev or vjp for functions with more outputs",
        )
    if holomorphic and not is_complex(out.dtype):
        raise ArgumentError(
            f"grad with holomorphic=True needs a complex output; {name} returned "
            f"{dtype_name(out.dtype)}"
        )
    if not holomorphic and dtype_category(out.dtype) != "float":
        hint = "pass holomorphic=True for holomorphic functions" if is_complex(out.dtype) else None
        raise ArgumentError(
            f"grad needs a real floating-point output; {name} returned {dtype_name(out.dtype)}",
            hint=hint,
        )


def tangent_leaves(
    primals: Any, tangents: Any, types: Sequence[TensorType]
) -> tuple[list[Any], list[bool]]:
    """The flat tangents, and for each whether it takes part (integers' float0 ones do not).

    Raises ArgumentError where structure, shape or dtype differ from the primals'.
    """
    if not isinstance(tangents, (tuple, list)):
        raise ArgumentError(
            f"tangents come as a tuple or list, one for each primal; got {type(tangents).__name__}"
        )
    leaves, tree = jax.tree.flatten(tuple(tangents))
    want: Any = jax.tree.structure(tuple(primals))
    if tree != want:
        raise ArgumentError(f"tangents must be nested as the primals: {want}; got {tree}")
    active = []
    for i, (dx, t) in enumerate(zip(leaves, types, strict=True)):
        if not has_tangent(t):
            if getattr(dx, "dtype", None) != jax.dtypes.float0:
                raise ArgumentError(
                    f"tangent {i} of a primal of type {t} must have dtype float0, got "
                    f"{type_of(dx)}",
                    hint="integers and booleans have no tangents: pass "
                    "numpy.zeros(shape, jax.dtypes.float0)",
                )
            active.append(False)
            continue
        got = type_of(dx)
        if got.shape != t.shape or (got.dtype != t.dtype and not got.weak):
            raise ArgumentError(
                f"tangent {i} has type {got}; its primal has type {t}, and they must agree"
            )
        active.append(True)
    return leaves, active
