"""Tangents and cotangents that a user gives: checked against the primals that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..ir.errors import ArgumentError, CovectorError, UsageError
from ..ir.types import TensorType, has_tangent
from .avals import as_weak, to_jax_dtype, type_of
from .no_numbers import FLOAT0, is_float0, shown


def float0_zeros(type: TensorType) -> Any:
    """The tangent of integers and booleans: zeros of the dtype that holds nothing else."""
    return np.zeros(type.shape, FLOAT0)


def zero_tangent(type: TensorType) -> Any:
    """A tangent of zeros for a value of this type."""
    return zeros_of(type) if has_tangent(type) else float0_zeros(type)


def zeros_of(type: TensorType) -> Any:
    """Zeros of this type."""
    zeros: Any = jax.numpy.zeros(type.shape, to_jax_dtype(type.dtype))
    return as_weak(zeros, type.weak)


def tangent_leaves(
    primals: Any,
    tangents: Any,
    types: Sequence[TensorType],
    caller: str,
    mismatch: type[CovectorError] = ArgumentError,
) -> tuple[list[Any], list[bool]]:
    """The flat tangents, and for each whether it takes part (integers' float0 ones do not).

    Raises ArgumentError where the structure differs from the primals', `mismatch` where a dtype
    does, UsageError (a ValueError) where a shape does.
    """
    leaves, tree = jax.tree.flatten(tangents)
    want: Any = jax.tree.structure(primals)
    if tree != want:
        raise ArgumentError(
            f"primals and tangents of {caller} must have the same tree structure: the primals have "
            f"{want}, the tangents {tree}"
        )
    return leaves, [
        _takes_part(i, dx, t, caller, mismatch)
        for i, (dx, t) in enumerate(zip(leaves, types, strict=True))
    ]


def _named(dtype: Any) -> str:
    return "float0" if dtype == FLOAT0 else str(dtype)


def _takes_part(
    i: int, dx: Any, primal: TensorType, caller: str, kind: type[CovectorError]
) -> bool:
    shape: tuple[int, ...]
    dtype: Any
    if is_float0(dx):
        shape, dtype = np.shape(dx), FLOAT0
    else:
        got = type_of(dx)
        shape, dtype = got.shape, got.dtype
    expected = primal.dtype if has_tangent(primal) else FLOAT0
    if dtype != expected:
        hint = None
        if expected == FLOAT0:
            hint = (
                "integers and booleans have no tangents: pass numpy.zeros(shape, jax.dtypes.float0)"
            )
        raise kind(
            f"primals and tangents of {caller} do not match: a primal of type {primal} takes a "
            f"tangent of dtype {_named(expected)}, but tangent {i} has dtype {_named(dtype)}",
            hint=hint,
        )
    if shape != primal.shape:
        raise UsageError(
            f"{caller} called with different primal and tangent shapes: primal {i} has shape "
            f"{primal.shape}, its tangent {shape}"
        )
    return has_tangent(primal)


def cotangent_leaves(
    name: str,
    cotangent: Any,
    out_tree: Any,
    out_types: Sequence[TensorType],
    has_cotangent: Callable[[TensorType], bool] = has_tangent,
) -> list[Any]:
    """The flat cotangents of the output of `name`. Raises UsageError where they are not its."""
    flat, tree = jax.tree.flatten(cotangent)
    has_numbers = [True] * len(flat)
    if tree != out_tree:
        out_tree, has_numbers = shown(out_tree)
    if tree != out_tree:
        raise UsageError(
            f"unexpected tree structure: the cotangent given to the pull-back of {name} must be "
            f"nested as {name}'s output is, {out_tree}; it is {tree}"
        )
    flat = [ct for ct, is_number in zip(flat, has_numbers, strict=True) if is_number]
    for i, (ct, t) in enumerate(zip(flat, out_types, strict=True)):
        _check_cotangent(name, i, ct, t, has_cotangent(t))
    return flat


def _check_cotangent(name: str, i: int, ct: Any, out: TensorType, is_number: bool) -> None:
    if not is_number:
        if np.shape(ct) == out.shape:
            return
        expected = f"float0{list(out.shape)}"
    else:
        got = None if is_float0(ct) else type_of(ct)
        if got is not None and got.strong is out.strong:
            return
        expected = str(out.strong)
    found = f"float0{list(np.shape(ct))}" if is_float0(ct) else str(type_of(ct).strong)
    raise UsageError(
        f"unexpected JAX type for cotangent {i} given to the pull-back of {name}: got {found}, "
        f"but expected {expected}, because {name}'s output there has type {out}"
    )
