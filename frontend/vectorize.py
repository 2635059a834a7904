"""`vmap`, with JAX's signature and conventions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np

from ..ir.builder import Builder
from ..ir.errors import ArgumentError
from ..ir.graph import Graph, Value
from ..ir.ops.reduction import reduce_sum
from ..ir.types import TensorType
from ..passes import watched
from .arguments import check_callable
from .execute import execute
from .jax_compat import extended_axes
from .mapped_types import (
    MappedTypeFound,
    has_specifications,
    holds_mapped_types,
    mapped_by_its_types,
    without_mapped_types,
)
from .no_numbers import nest_mapped, shown
from .ref_args import check_not_mapped
from .staged import Staged
from .staging import divide, function_name, leaf_names, stage, wraps
from .symbolic_sizes import or_by_jax


def vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: str | None = None,
    axis_size: int | None = None,
    spmd_axis_name: Hashable | None = None,
    sum_match: bool = False,
) -> Callable[..., Any]:
    """Map fun over array axes, as `jax.vmap`: one batched program, not a loop.

    in_axes: which axis of each argument is mapped, an integer or None, or a tuple of these or of
      trees that are prefixes of the arguments. Keyword arguments are mapped over their first axis.
    out_axes: where the mapped axis is in the outputs; None for outputs that do not depend on it.
    axis_name: what collectives (`jax.lax.psum` and its like) in fun call the mapped axis.
    axis_size: the length of the mapped axis, needed when no argument has one.
    spmd_axis_name: the mesh axis along which the mapped axis is to be spread; a program is of one
      device, so nothing is.
    sum_match: whether an output that depends on the mapped axis is summed over it where out_axes
      has None (an error otherwise).

    Raises ValueError or ArgumentError (a TypeError) where axes and arguments do not fit.
    """
    check_callable(fun, "vmap")
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    name, its_own = axis_name, (in_axes, out_axes, axis_name, axis_size, spmd_axis_name, sum_match)
    if has_specifications((in_axes, out_axes)):
        return wraps(fun, "Vectorized version")(mapped_by_its_types(fun, *its_own))
    if isinstance(in_axes, bool) or not isinstance(in_axes, (int, np.integer, tuple, type(None))):
        raise ArgumentError(
            "vmap in_axes must be an int, None, or a tuple of entries corresponding to the "
            f"positional arguments passed to the function, but got {in_axes}."
        )

    for what, axes in (("in_axes", in_axes), ("out_axes", out_axes)):
        for axis in jax.tree.leaves(axes):
            if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
                raise ArgumentError(
                    f"vmap {what} must be an int, None, or a container of these; got {axes!r}"
                )
    if axis_name is not None and not isinstance(axis_name, str):
        raise ArgumentError(f"vmap's axis_name is a string, got {axis_name!r}")

    def vmap_fun(*args: Any, **kwargs: Any) -> Any:
        if isinstance(in_axes, tuple) and len(in_axes) != len(args):
            raise ValueError(
                "vmap in_axes must be an int, None, or a tuple of entries corresponding to the "
                f"positional arguments passed to the function, but got {len(in_axes)=}, "
                f"{len(args)=}: an item for each argument of {function_name(fun)}"
            )
        if holds_mapped_types((args, kwargs)):
            return mapped_by_its_types(fun, *its_own)(*args, **kwargs)
        leaves, in_tree = jax.tree.flatten((args, kwargs))
        axes = flat_axes("in_axes", in_axes, args)
        axes += [0] * (len(leaves) - len(axes))  # those of keyword arguments
        leaves, types, held = divide(leaves, [axis is not None for axis in axes])
        axes = [axis for i, axis in enumerate(axes) if i not in held]
        axes = [_in_range(i, axis, t) for i, (axis, t) in enumerate(zip(axes, types, strict=True))]
        size = _axis_size(leaf_names(fun, in_tree, held), types, axes, axis_size)
        inner = [_without_axis(t, axis) for t, axis in zip(types, axes, strict=True)]
        known = [x if axis is None else None for x, axis in zip(leaves, axes, strict=True)]
        with extended_axes({} if name is None else {name: size}, spmd_axis_name):
            given = [axis is None for axis in axes]
            how: dict[str, Any] = {
                "known": known, "held": held, "as_given": given, "caller": "vmap",
                "active": [not is_given for is_given in given],
            }  # fmt: skip
            try:
                plain = without_mapped_types(fun)
                staged = stage(plain, leaves, in_tree, types=inner, takes_refs=True, **how)
            except MappedTypeFound:
                return mapped_by_its_types(fun, *its_own)(*args, **kwargs)
        graph, wanted = _mapped_graph(staged, types, axes, size, out_axes, name, sum_match, leaves)
        outputs = staged.settle(execute(graph, staged.operands(leaves)))
        return nest_mapped(staged.out_tree, outputs, wanted, size)

    by_jax = lambda *args, **kwargs: mapped_by_its_types(fun, *its_own)(*args, **kwargs)
    return wraps(fun, "Vectorized version")(or_by_jax(by_jax)(vmap_fun))


def flat_axes(what: str, axes: Any, tree: Any) -> list[int | None]:
    """An axis for each leaf of a tree, from a tree prefix. Raises ValueError if it is none."""
    if axes is None or axes.__class__ is int:
        return [axes] * len(jax.tree.leaves(tree))
    is_axis = lambda x: x is None  # None is an axis here, not an empty tree
    flat: list[int | None] = []

    def extend(axis: int | None, subtree: Any) -> None:
        flat.extend([axis] * len(jax.tree.leaves(subtree)))

    try:
        jax.tree.map(extend, axes, tree, is_leaf=is_axis)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"vmap {what} specification must be a tree prefix of the corresponding value; got "
            f"{what}={axes} for {jax.tree.structure(tree)}. Mismatch details: {error}"
        ) from None
    for axis in flat:
        if axis is not None and not isinstance(axis, (int, np.integer)):
            raise ArgumentError(f"vmap's {what} holds integers and None, got {axis!r}")
    return flat


def _in_range(i: int, axis: int | None, type: TensorType) -> int | None:
    if axis is None:
        return None
    if not -type.ndim <= axis < type.ndim:
        raise ValueError(
            f"vmap was requested to map its argument along axis {axis}, which implies that its "
            f"rank should be at least {axis + 1 if axis >= 0 else -axis}, but is only {type.ndim} "
            f"(its shape is {type.shape}; leaf {i}, of type {type})"
        )
    return int(axis) % type.ndim


def _axis_size(
    names: Sequence[str],
    types: Sequence[TensorType],
    axes: Sequence[int | None],
    given: int | None,
) -> int:
    sizes = {t.shape[a] for t, a in zip(types, axes, strict=True) if a is not None}
    if given is not None:
        sizes.add(given)
    if len(sizes) == 1:
        return sizes.pop()
    if not sizes:
        raise ValueError("vmap must map at least one argument, or be given axis_size")
    facts = ", ".join(
        f"{name}: axis {axis} of {t}"
        for name, t, axis in zip(names, types, axes, strict=True)
        if axis is not None
    )
    asked = f", and axis_size={given}" if given is not None else ""
    raise ValueError(f"vmap got inconsistent sizes for array axes to be mapped: {facts}{asked}")


def _without_axis(type: TensorType, axis: int | None) -> TensorType:
    if axis is None:
        return type
    return type.with_shape(type.shape[:axis] + type.shape[axis + 1 :])


def _mapped_graph(
    staged: Staged,
    types: Sequence[TensorType],
    axes: Sequence[int | None],
    size: int,
    out_axes: Any,
    axis_name: str | None,
    sum_match: bool,
    leaves: Sequence[Any],
) -> tuple[Graph, list[int | None]]:
    """The batched program, with the batch axis moved from and to where the user has it."""
    mapped = staged.active([axis is not None for axis in axes])
    full_tree, has_numbers = shown(staged.out_tree)
    all_wanted = flat_axes("out_axes", out_axes, jax.tree.unflatten(full_tree, has_numbers))
    wanted = [axis for axis, is_number in zip(all_wanted, has_numbers, strict=True) if is_number]
    written = [_axis_of(ref, leaves, axes) for ref in staged.written]
    wanted += written
    force = [axis is not None for axis in wanted]
    batched, out_batched = watched.batch(staged.graph, mapped, size, force, axis_name)
    check_not_mapped(staged.graph.name, staged.written, written)
    if not any(axes) and not any(wanted) and wanted.count(None) == 0:  # every axis is the first
        return batched, all_wanted
    b = Builder()
    inputs = [Value(v.type, v.name) for v in staged.graph.inputs[: staged.n_captured]]
    moved: list[Any] = list(inputs)
    for v, t, axis in zip(staged.graph.inputs[staged.n_captured :], types, axes, strict=True):
        value = Value(t, v.name)
        inputs.append(value)
        moved.append(move_axis(b, value, axis, 0) if axis else value)
    outputs = []
    for out, is_batched, axis in zip(b.inline(batched, moved), out_batched, wanted, strict=True):
        if is_batched and axis is None and sum_match:
            out = b.emit(reduce_sum, out, axes=(0,))[0]
        elif is_batched and axis is None:
            raise ValueError(
                f"vmap of {staged.graph.name} has out_axes=None for an output that depends on the "
                "mapped axis"
            )
        if axis is not None:
            rank = len(out.type.shape)
            if not -rank <= axis < rank:
                raise ValueError(
                    f"vmap's out_axes={axis} is out of range for an output of rank {rank}"
                )
        outputs.append(move_axis(b, out, 0, axis % rank) if axis else out)
    return b.graph(inputs, outputs, f"{staged.graph.name}.vmap"), all_wanted


def _axis_of(ref: Any, leaves: Sequence[Any], axes: Sequence[int | None]) -> int | None:
    """The mapped axis of a mutable array; None for one that is shared or closed over."""
    found = [axis for x, axis in zip(leaves, axes, strict=True) if x is ref]
    return found[0] if found else None


def move_axis(b: Builder, x: Any, source: int, target: int) -> Any:
    """x with one axis moved."""
    order = [i for i in range(len(x.type.shape)) if i != source]
    order.insert(target, source)
    return b.transpose(x, permutation=tuple(order))
