"""The derivative of scatter_apply, by writing it out: elements are read, changed and written back.

Where windows overlap, an element is changed as often as one holds it: window after window, then.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.builder import Builder
from ...ir.graph import Equation, Graph, Value
from ...ir.ops import indexing as ix
from ...ir.ops.control import scan
from ...ir.types import TensorType
from .. import tables
from ..batch import batch_graph
from ..jvp import jvp_graph
from ..regions import nonzero, select, spread
from ..tables import Operands
from .indexing import gather_params, writes_once

Params = dict[str, Any]


@tables.jvp.rule(ix.scatter_apply)
def jvp_scatter_apply(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    b.append(eqn)
    active = (nonzero(tangents)[0], False, False)
    if not active[0]:
        return spread((), (False,), eqn.outputs)
    forward, out_nonzero = jvp_graph(_written_out(eqn), active)
    found = b.inline(forward, (*eqn.inputs, *select(tangents, active)))
    return spread(found[1:], out_nonzero, eqn.outputs)


def _written_out(eqn: Equation) -> Graph:
    b, inputs = Builder(), [Value(x.type.strong) for x in eqn.inputs]
    x, indices, windows = inputs
    graph, params = eqn.params["graph"], {k: v for k, v in eqn.params.items() if k != "graph"}
    if writes_once(eqn):
        y = _apply(b, graph, params, x, indices, windows.type)
    else:
        y = _one_after_another(b, graph, params, x, indices, windows.type)
    return b.graph(inputs, [y], "scatter_apply")


def _apply(
    b: Builder, graph: Graph, params: Params, x: Any, indices: Any, windows: TensorType
) -> Any:
    """Windows that do not overlap. What is read in place of windows outside is not written."""
    read = gather_params(params, x.type, windows)
    old = b.gather(x, indices, **{**read, "mode": "CLIP", "fill_value": None})
    size = windows.size
    each, _ = batch_graph(graph, (True,), size, (True,))
    (new,) = b.inline(each, [b.reshape(old, new_sizes=(size,))])
    return b.scatter(x, indices, b.reshape(new, new_sizes=windows.shape), **params)


def _one_after_another(
    b: Builder, graph: Graph, params: Params, x: Any, indices: Any, windows: TensorType
) -> Any:
    """A scan over all axes of the indices that are not walked together with the operand's."""
    shape, walked = indices.type.shape, params["scatter_indices_batching_dims"]
    free = tuple(i for i in range(len(shape) - 1) if i not in walked)
    n, kept = math.prod(shape[i] for i in free), [shape[i] for i in walked]
    rows = b.transpose(indices, permutation=(*free, *walked, len(shape) - 1))
    rows = b.reshape(rows, new_sizes=(n, *kept, shape[-1]))
    places, rank = params["update_window_dims"], len(walked)
    step = {
        **params,
        "update_window_dims": tuple(range(rank, rank + len(places))),
        "scatter_indices_batching_dims": tuple(range(rank)),
        "unique_indices": True,
    }
    window = TensorType((*kept, *(windows.shape[i] for i in places)), windows.dtype)
    inner = Builder()
    carry = Value(x.type)
    row = Value(TensorType((*kept, shape[-1]), indices.type.dtype))
    changed = _apply(inner, graph, step, carry, row, window)
    body = inner.graph([carry, row], [changed], "window")
    (y,) = b.emit(scan, x, rows, graph=body, num_consts=0, num_carry=1, length=n)
    return y
