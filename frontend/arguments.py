"""Checks of the arguments of transformations: JAX's rules, one clear sentence each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.experimental.layout import Format

from ..ir.errors import ArgumentError, UsageError
from ..ir.types import TensorType, dtype_category
from .avals import check_no_strings
from .cells import is_ref
from .jax_compat import default_devices

if TYPE_CHECKING:
    from .staged import Staged


def check_callable(fun: Any, caller: str) -> None:
    """Raise ArgumentError unless fun is a function that can be traced."""
    if isinstance(fun, staticmethod):
        raise ArgumentError(
            f"{caller} got {fun!r}: staticmethod arguments are not supported",
            hint="decorate the other way around: @staticmethod outermost",
        )
    if not callable(fun):
        raise ArgumentError(f"{caller} expected a callable value, got {fun!r}")
    if inspect.isgeneratorfunction(fun):
        raise ArgumentError(f"{caller} expected a function, got a generator function: {fun!r}")


def check_values(leaves: Sequence[Any], names: Callable[[], Sequence[str]], called: str) -> None:
    """Raise ArgumentError for arguments that only stand for arrays: a call takes values."""
    for i, x in enumerate(leaves):
        if isinstance(x, jax.ShapeDtypeStruct):
            raise ArgumentError(
                f"Argument {x} of type {type(x)} has no value: it is the argument {names()[i]} of "
                f"{called}",
                hint="compile for such arguments with .lower(...).compile()",
            )


def device_asked_for(caller: str, backend: str | None, places: Any) -> Any:
    """The device that a backend, or devices and shardings in a tree, ask for; None if none does.

    Raises UsageError where they ask for several, ArgumentError for what is no place.
    """
    devices = set() if backend is None else {jax.devices(backend)[0]}
    for place in jax.tree.leaves(places):
        if isinstance(place, Format):
            _check_layout(caller, place)
            place = place.sharding
        if isinstance(place, (jax.Device, jax.sharding.Sharding)):
            devices |= _devices_of(caller, place)
        elif isinstance(place, (int, float, str, np.ndarray, jax.Array)):
            raise ArgumentError(f"{caller} takes shardings and devices, got {place!r}")
        # else a marker for "as the arguments are", or a partition of no mesh
    if len(devices) > 1:
        raise UsageError(
            f"{caller} was asked to run on {sorted(map(str, devices))}; its programs run on one "
            "device",
            hint="place the arguments with jax.device_put: a program runs where they are",
        )
    return next(iter(devices), None)


def check_inner(name: str, compiler_options: Mapping[str, Any] | None, wanted: Any) -> None:
    """Raise UsageError where a function of `jit` that is called in a trace has what only a whole
    program can have."""
    claim = f"{name} is called in a traced function, and "
    if compiler_options:
        raise UsageError(
            claim + f"has compiler_options={dict(compiler_options)}: these are of whole programs",
            hint="pass compiler_options to the outermost jit",
        )
    if wanted is not None and wanted not in default_devices():
        raise UsageError(
            claim + f"was asked to run on {wanted}: a program is of one device",
            hint="place the arguments with jax.device_put: a program runs where they are",
        )


def check_nesting(called: str, what: str, chosen: Any, tree: Any) -> None:
    """Raise UsageError unless what is chosen for all leaves of a tree nests as that does."""
    try:
        jax.tree.broadcast(chosen, tree, is_leaf=lambda x: x is None)
    except ValueError as error:
        told = str(error).replace("broadcast_prefix prefix_tree", what)
        raise UsageError(f"{what} of {called}: {told}") from None


def _devices_of(caller: str, place: Any) -> set[Any]:
    """The devices of a place; of a mesh of sizes only, what stands for them."""
    if isinstance(place, jax.Device):
        return {place}
    mesh: Any = getattr(place, "mesh", None)
    if mesh is not None and mesh.empty:
        raise UsageError(f"{caller} got an empty NamedSharding: {place}, of no devices")
    if isinstance(mesh, jax.sharding.AbstractMesh):
        places = range(mesh.size) if mesh.size > 1 else ()
        return {f"device {i} of a mesh {mesh.axis_sizes}" for i in places}
    return set(place.device_set)


def _check_layout(caller: str, place: Any) -> None:
    """Raise UsageError where an argument or a result is to be laid out in memory in some way."""
    if place.layout is not None:
        raise UsageError(
            f"{caller} was asked for the layout {place.layout}; its programs take arguments as "
            "they are laid out, and lay out results in the usual way",
            hint="lay out arrays with jax.device_put(x, Format(layout, sharding))",
        )


def check_reduce_axes(caller: str, reduce_axes: Sequence[Any]) -> None:
    """Raise NotImplementedError for what JAX has taken out of its signatures' meaning."""
    if reduce_axes:
        raise NotImplementedError(
            f"{caller} takes no reduce_axes any more (got {tuple(reduce_axes)}): sum over named "
            "axes with jax.lax.psum"
        )


def check_argnums(
    fun: Callable[..., Any], argnums: int | Sequence[int], n_args: int
) -> tuple[int, ...]:
    """Positions from 0, in the order given. Raises ArgumentError, or ValueError for a negative
    number out of range.
    """
    numbers: tuple[Any, ...] = tuple(argnums) if isinstance(argnums, Iterable) else (argnums,)
    for i in numbers:
        if not isinstance(i, (int, np.integer)):
            raise ArgumentError(f"argnums takes integers, got {i!r}")
    if numbers and max(numbers) >= n_args:
        raise ArgumentError(
            f"differentiating with respect to argnums={argnums} requires at least "
            f"{max(numbers) + 1} positional arguments to be passed by the caller, but got only "
            f"{n_args} positional arguments. The function is {name_of(fun)}"
        )
    if numbers and min(numbers) < -n_args:
        raise ValueError(
            f"argnums={argnums} counts from the end of {name_of(fun)}'s arguments, but it was "
            f"called with {n_args} positional arguments"
        )
    return tuple(int(i) % n_args for i in numbers)


def check_no_refs(caller: str, arguments: Any) -> None:
    """Raise UsageError where a derivative by a mutable array is asked for."""
    for x in jax.tree.leaves(arguments):
        if is_ref(x):
            raise UsageError(
                f"{caller} by a mutable array of type {x.aval.str_short()}: it is no value",
                hint="differentiate by what it holds at first: make the array in the function",
            )


def name_of(fun: Any) -> str:
    return str(getattr(fun, "__name__", "the function"))


def check_grad_inputs(
    types: Sequence[TensorType], active: Sequence[bool], holomorphic: bool, allow_int: bool
) -> None:
    """Raise ArgumentError unless gradients by the active inputs are defined."""
    for t, is_active in zip(types, active, strict=True):
        if is_active:
            check_input("grad", t, holomorphic, allow_int)


def check_input(caller: str, t: TensorType, holomorphic: bool, allow_int: bool) -> None:
    """Raise ArgumentError unless reverse mode by an input of this type is defined."""
    check_no_strings(t)
    category = dtype_category(t.dtype)
    if holomorphic and category != "complex":
        raise ArgumentError(
            f"{caller} with holomorphic=True requires inputs with complex dtype, but got {t.dtype}"
        )
    if category in ("bool", "int", "uint", "extended") and not allow_int:
        raise ArgumentError(
            f"{caller} requires real- or complex-valued inputs (input dtype that is a sub-dtype of "
            f"np.inexact), but got {t.dtype}",
            hint="convert the input to a float dtype, or pass allow_int=True for gradients of "
            "dtype float0",
        )


def check_output(caller: str, name: str, t: TensorType, holomorphic: bool) -> None:
    """Raise ArgumentError unless reverse mode of an output of this type is defined."""
    category = dtype_category(t.dtype)
    if holomorphic:
        if category != "complex":
            raise ArgumentError(
                f"{caller} with holomorphic=True requires outputs with complex dtype, but "
                f"got {t.dtype} from {name}"
            )
    elif category != "float":
        hint = "use vjp, or convert the output to a float dtype"
        if category == "complex":
            hint = "pass holomorphic=True if the function is holomorphic, use vjp if it is not"
        raise ArgumentError(
            f"{caller} requires real-valued outputs (output dtype that is a sub-dtype of "
            f"np.floating), but got {t.dtype} from {name}",
            hint=hint,
        )


def check_scalar_output(fun: Callable[..., Any], staged: Staged, holomorphic: bool) -> None:
    """Raise ArgumentError unless the output is one real scalar (complex, if holomorphic)."""
    name = name_of(fun)
    claim = "Gradient only defined for scalar-output functions."
    if staged.n_out != 1 or staged.out_tree != jax.tree.structure(0):
        raise ArgumentError(
            f"{claim} The output of {name} was {staged.out_tree}, not one scalar",
            hint="return auxiliary data with has_aux=True, or use vjp or jacrev",
        )
    out = staged.graph.outputs[0].type
    if out.shape != ():
        raise ArgumentError(
            f"{claim} The output of {name} had shape: {out.shape}",
            hint="use jacrev or vjp for functions with more outputs",
        )
    check_output("grad", name, out, holomorphic)
