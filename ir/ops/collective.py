"""Collectives: what examples of a batch, or devices, do together along an axis that has a name.

The names of the axes are strings; None is the axis of the batch that is being made (`passes/batch`
names it so before the rules see it). JAX's names and parameters, positions aside: a reduction over
positions is a reduction of its own.
"""

from __future__ import annotations

from typing import Any

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import INT32, TensorType

NO_AXIS = "no axis of that name is mapped here: call it under vmap with axis_name"


def _same(types: Types, params: dict[str, Any]) -> TensorType:
    return types[0].strong


def _infer_all_gather(types: Types, params: dict[str, Any]) -> TensorType:
    """A new axis of the gathered; tiled: the axis becomes that many times longer."""
    (x,) = types
    axis, size, shape = params["all_gather_dimension"], params["axis_size"], list(x.shape)
    _check_axis("all_gather", axis, len(shape) + (not params["tiled"]), x)
    if params["tiled"]:
        shape[axis] *= size
    else:
        shape.insert(axis, size)
    return TensorType(tuple(shape), x.dtype)


def _infer_reduce_scatter(types: Types, params: dict[str, Any]) -> TensorType:
    """The axis goes; tiled: it becomes that many times shorter."""
    (x,) = types
    axis, size, shape = params["scatter_dimension"], params["axis_size"], list(x.shape)
    _check_axis("reduce_scatter", axis, len(shape), x)
    if shape[axis] % size or (shape[axis] != size and not params["tiled"]):
        raise TypeRuleError(
            f"reduce_scatter over {size} members needs an axis of that length (tiled: a multiple "
            f"of it); axis {axis} of {x} is not"
        )
    if params["tiled"]:
        shape[axis] //= size
    else:
        del shape[axis]
    return TensorType(tuple(shape), x.dtype)


def _infer_all_to_all(types: Types, params: dict[str, Any]) -> TensorType:
    (x,) = types
    split, joined, size = params["split_axis"], params["concat_axis"], params["axis_size"]
    shape = list(x.shape)
    _check_axis("all_to_all", split, len(shape), x)
    _check_axis("all_to_all", joined, len(shape), x)
    if shape[split] % size:
        raise TypeRuleError(f"all_to_all over {size} members cannot split axis {split} of {x}")
    shape[split] //= size
    shape[joined] *= size
    return TensorType(tuple(shape), x.dtype)


def _check_axis(name: str, axis: int, rank: int, x: TensorType) -> None:
    if not 0 <= axis < rank:
        raise TypeRuleError(f"{name} over axis {axis} of {x}")


def _infer_axis_index(types: Types, params: dict[str, Any]) -> TensorType:
    return TensorType((), INT32)


LINEAR: dict[str, Any] = {"linear_in": (0,), "jointly_linear": True, "family": "collective"}

psum = define("psum", _same, defaults={"axes": REQUIRED, "axis_index_groups": None}, **LINEAR)
pmax = define(
    "pmax", _same, defaults={"axes": REQUIRED, "axis_index_groups": None}, family="collective"
)
pmin = define(
    "pmin", _same, defaults={"axes": REQUIRED, "axis_index_groups": None}, family="collective"
)
ppermute = define("ppermute", _same, defaults={"axis_name": REQUIRED, "perm": REQUIRED}, **LINEAR)
pbroadcast = define(
    "pbroadcast", _same, defaults={"axis_name": REQUIRED, "source": REQUIRED}, **LINEAR
)
all_gather = define(
    "all_gather",
    _infer_all_gather,
    defaults={
        "all_gather_dimension": REQUIRED,
        "axis_name": REQUIRED,
        "axis_index_groups": None,
        "axis_size": REQUIRED,
        "tiled": False,
    },
    **LINEAR,
)
reduce_scatter = define(
    "reduce_scatter",
    _infer_reduce_scatter,
    defaults={
        "axis_name": REQUIRED,
        "scatter_dimension": REQUIRED,
        "axis_index_groups": None,
        "axis_size": REQUIRED,
        "tiled": False,
    },
    **LINEAR,
)
all_to_all = define(
    "all_to_all",
    _infer_all_to_all,
    defaults={
        "axis_name": REQUIRED,
        "split_axis": REQUIRED,
        "concat_axis": REQUIRED,
        "axis_index_groups": None,
        "tiled": False,
        "axis_size": REQUIRED,
    },
    **LINEAR,
)
"""axis_size: of all the named axes together."""

axis_index = define(
    "axis_index",
    _infer_axis_index,
    defaults={"axis_name": REQUIRED},
    not_differentiable="it is an integer",
    family="collective",
)

COLLECTIVES = (
    psum, pmax, pmin, ppermute, pbroadcast, all_gather, reduce_scatter, all_to_all, axis_index,
)  # fmt: skip


def axes_key(params: dict[str, Any]) -> str:
    """Which parameter of a collective names its axes."""
    return "axes" if "axes" in params else "axis_name"


def axes_of(params: dict[str, Any]) -> tuple[str | None, ...]:
    """The axes of a collective, by name."""
    names = params[axes_key(params)]
    return names if isinstance(names, tuple) else (names,)
