"""What solves of differential equations are told: states, times, tolerances, limits, checked."""

from __future__ import annotations

from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from ..ir.errors import ArgumentError, did_you_mean
from ..ir.ops.ode import ADJOINTS
from ..ir.types import Dtype, dtype_category, dtype_name
from .avals import type_of
from .execute import is_tracing
from .jax_compat import Tracer

TINY: Final = float(np.finfo(np.float64).tiny)
"""What is positive is not below it."""


def as_state(x: Any) -> Any:
    """A state: an array of floats or complex numbers. Raises ArgumentError."""
    check_array("state", x)
    dtype = type_of(x).dtype
    if dtype_category(dtype) in ("float", "complex"):
        if _is_half(dtype):
            raise ArgumentError(
                f"the initial state holds {dtype_name(dtype)}, in which small steps get lost",
                hint="give y0 as float32, and convert it in the dynamics",
            )
        return x if hasattr(x, "dtype") else jnp.asarray(x)
    raise ArgumentError(
        f"the initial state holds {dtype_name(dtype)}: states change continuously",
        hint="give y0 as floats",
    )


def _is_half(dtype: Dtype) -> bool:
    return isinstance(dtype, np.dtype) and dtype.itemsize < 4


def check_array(what: str, x: Any) -> None:
    try:
        type_of(x)
    except TypeError:
        raise ArgumentError(
            f"the {what} of a solve holds arrays and scalars, not {x!r}",
            hint="let the dynamics close over what is neither" if what != "state" else None,
        ) from None


def times_of(t: Any) -> Any:
    """Times as an array of floats. Raises ArgumentError for times that are not monotone."""
    if not hasattr(t, "dtype"):
        t = jnp.asarray(t)
    type = type_of(t)
    if dtype_category(type.dtype) != "float" or _is_half(type.dtype):
        raise ArgumentError(f"times are floats of 32 bits or more, got {type}")
    if type.ndim != 1 or not type.size:
        raise ArgumentError(f"times have the shape [n], n at least 1; got {type}")
    if not is_tracing((t,)):
        values = np.asarray(t, np.float64)
        steps = np.diff(values)
        if not np.all(np.isfinite(values)):
            raise ArgumentError(f"times are finite; got {values[~np.isfinite(values)][0]}")
        if np.any(steps > 0) and np.any(steps < 0):
            i = int(np.argmax((steps > 0) != (steps[np.argmax(steps != 0)] > 0) & (steps != 0)))
            raise ArgumentError(
                f"times increase, or decrease, throughout; t[{i}] = {values[i]} and "
                f"t[{i + 1}] = {values[i + 1]} do not"
            )
    return t


def saved_times(t0: Any, t1: Any, saveat: Any) -> tuple[Any, Any]:
    """t0 | saveat | t1, and the slice of them that is asked for."""
    for name, x in (("t0", t0), ("t1", t1)):
        if jnp.shape(x) != ():
            raise ArgumentError(f"{name} is a scalar, got the shape {jnp.shape(x)}")
    dtype = jnp.result_type(float, *(x for x in (t0, t1, saveat) if hasattr(x, "dtype")))
    if saveat is None:
        return times_of(jnp.stack([jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)])), slice(1, 2)
    inner = jnp.asarray(saveat, dtype)
    if inner.ndim != 1:
        raise ArgumentError(f"saveat has the shape [n], got {inner.shape}")
    ends = [jnp.asarray(x, dtype).reshape(1) for x in (t0, t1)]
    return times_of(jnp.concatenate([ends[0], inner, ends[1]])), slice(1, 1 + inner.shape[0])


def limited(adjoint: str, max_steps: Any, snapshots: Any) -> dict[str, Any]:
    adjoint = known_name("adjoint", adjoint, ADJOINTS)
    for name, limit in (("max_steps", max_steps), ("snapshots", snapshots)):
        if limit is not None and (not isinstance(limit, (int, np.integer)) or limit < 1):
            raise ArgumentError(f"{name} is a number known beforehand, at least 1; got {limit!r}")
    return {"adjoint": adjoint, "max_steps": max_steps, "snapshots": snapshots}


def known_name(what: str, name: str, names: Any) -> str:
    if name not in names:
        hint = did_you_mean(name, names) or f"there are {', '.join(names)}"
        raise ArgumentError(f"there is no {what} {name!r}", hint=hint)
    return name


def number(name: str, x: Any, above: float = 0.0) -> float:
    """A number that is known beforehand and not below a bound. Raises ArgumentError."""
    if isinstance(x, (Tracer, str)) or np.ndim(x) or np.iscomplexobj(x):
        raise ArgumentError(
            f"{name} is a real number known beforehand; got {x!r}",
            hint="how a solve is computed is fixed when it is traced; y0, times and args vary",
        )
    if not float(x) >= above:
        least = "positive" if above == TINY else f"{above:g} at least"
        raise ArgumentError(f"{name} is {least}; got {float(x):g}")
    return float(x)


def optional(name: str, x: Any, above: float = 0.0) -> float | None:
    """A number, or None for None and infinity."""
    return None if x is None or number(name, x, above) == np.inf else float(x)


def count(name: str, x: Any) -> int | None:
    """A number of steps, None for infinity."""
    found = optional(name, x, 1)
    return None if found is None else int(found)


def tolerance(name: str, x: Any) -> float | None:
    """None, for steps of a fixed size, or a number."""
    return None if x is None else number(name, x)


def first_step(dt0: Any) -> float | None:
    """The size of a step, whatever its sign. Raises ArgumentError for 0."""
    if dt0 is None:
        return None
    size = abs(number("dt0", dt0, -np.inf))
    if not TINY <= size < np.inf:
        raise ArgumentError(f"dt0 is the size of a step; got {size:g}")
    return size
