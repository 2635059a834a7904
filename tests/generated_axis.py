"""Steps of collectives over the named axis of a batch, and of calls back into Python.

A program with a collective is run over rows: see `Subject` in generated_laws.py. While it is drawn
only one row of it is known, and collectives are taken to be among equals.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from generated import F32, ROWS, Drawing
from jax.experimental import io_callback

import covector
from covector.ir.graph import Graph
from covector.ir.types import TensorType

AXIS = "rows"
PAIR = ((0, 1), (1, 0))
LOG: list[Any] = []
"""What callbacks have been called with."""

COLLECTIVES: dict[str, dict[str, Any]] = {
    "psum": {"axes": (AXIS,)}, "pmax": {"axes": (AXIS,)}, "pmin": {"axes": (AXIS,)},
    "ppermute": {"axis_name": AXIS, "perm": PAIR},
    "all_gather": {"axis_name": AXIS, "axis_size": ROWS},
    "reduce_scatter": {"axis_name": AXIS, "axis_size": ROWS},
    "all_to_all": {"axis_name": AXIS, "axis_size": ROWS, "tiled": True},
    "axis_index": {"axis_name": AXIS},
}  # fmt: skip


def collective(d: Drawing, name: str) -> None:
    if d.depth:
        return
    params = dict(COLLECTIVES[name])
    if name == "axis_index":
        d.keep(d.emit("convert_element_type", d.emit(name, **params), new_dtype=F32,
                      weak_type=False))  # fmt: skip
        return
    x = d.value("f" if name in ("pmax", "pmin") else "fci")
    if name == "all_gather":
        params |= {"all_gather_dimension": d.int(0, len(x.type.shape)), "tiled": False}
    elif name in ("reduce_scatter", "all_to_all"):
        x = d.coerce(x, (ROWS, *x.type.shape), x.type.dtype)
        if name == "all_to_all":
            x = d.emit("add", x, of_row(d, x))
            params |= {"split_axis": 0, "concat_axis": d.axis(x)}
        else:
            params |= {"scatter_dimension": 0, "tiled": d.bool()}
    d.keep(d.emit(name, x, **params))


def of_row(d: Drawing, x: Any) -> Any:
    """The row's index, as x: JAX's all_to_all of what is equal in all rows has an axis too many."""
    index = d.emit("axis_index", **COLLECTIVES["axis_index"])
    index = d.emit("convert_element_type", index, new_dtype=x.type.dtype, weak_type=False)
    return d.emit("broadcast_in_dim", index, shape=x.type.shape, broadcast_dimensions=())


# -- callbacks -------------------------------------------------------------------------------------


def _look(x: Any) -> None:
    LOG.append(np.asarray(x).tolist())


def _take(x: Any) -> np.ndarray[Any, Any]:
    LOG.append(np.asarray(x).tolist())
    return np.asarray(x) * np.float32(2)


def _looked_at(x: Any) -> Any:
    jax.debug.callback(_look, x, ordered=True)
    return x


def _taken(x: Any) -> Any:
    return io_callback(_take, jax.ShapeDtypeStruct(x.shape, x.dtype), x, ordered=True)


def _computed(x: Any) -> Any:
    return jax.pure_callback(np.sin, x, x, vmap_method="expand_dims")


CALLBACKS = {"debug_callback": _looked_at, "io_callback": _taken, "pure_callback": _computed}


def callback(d: Drawing, name: str) -> None:
    x = d.of_type(d.shape(), F32)
    outputs = d.b.inline(traced(name, x.type), [x])
    d.evaluate()
    d.keep(*outputs)


def traced(name: str, type: TensorType) -> Graph:
    struct = jax.ShapeDtypeStruct(type.shape, np.float32)
    graph: Graph = covector.make_ir(CALLBACKS[name])(struct).main
    return graph


STEPS = {
    **{name: lambda d, n=name: collective(d, n) for name in COLLECTIVES},
    **{name: lambda d, n=name: callback(d, n) for name in CALLBACKS},
}
