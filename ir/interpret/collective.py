"""Collectives, and programs of one device each: every device is a thread, and they meet.

A collective means nothing for one example alone.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..errors import InterpretError
from ..graph import Graph
from ..ops import collective as c
from ..ops.shard_map import Mesh, Spec, groups_of, psum_invariant, pvary, shard_map
from ..primitive import Primitive
from . import evaluate, means

Array = Any
PATIENCE = 60.0
"""Seconds that a device waits for the others."""


class _Member(threading.local):
    """Which device this thread is, and where it meets the others; of no mesh outside of one."""

    mesh: Mesh = ()
    number = 0
    meeting: _Meeting | None = None


class _Meeting:
    """Where the devices of a mesh exchange arrays."""

    def __init__(self, n: int) -> None:
        self._barrier = threading.Barrier(n)
        self._brought: list[Any] = [None] * n

    def exchange(self, number: int, x: Any) -> list[Any]:
        """What every device brought, in their order, when all are there."""
        self._brought[number] = x
        self._barrier.wait(PATIENCE)
        everything = list(self._brought)
        self._barrier.wait(PATIENCE)
        return everything

    def break_up(self) -> None:
        self._barrier.abort()


_here = _Member()


@means(shard_map)
def each_device(
    *inputs: Array,
    graph: Graph,
    mesh: Mesh,
    in_specs: Sequence[Spec],
    out_specs: Sequence[Spec],
    **params: Any,
) -> list[Array]:
    if _here.meeting is not None:
        return _within(inputs, graph, mesh, in_specs, out_specs, params["manual_axes"])
    n, errors = math.prod(size for _, size in mesh), []
    meeting = _Meeting(n)

    def run(number: int) -> list[Array]:
        _here.mesh, _here.number, _here.meeting = mesh, number, meeting
        try:
            parts = [x[_part(x, s, mesh, number)] for x, s in zip(inputs, in_specs, strict=True)]
            return evaluate(graph, parts)
        except Exception as error:
            errors.append(error)
            meeting.break_up()
            return []
        finally:
            _here.mesh, _here.meeting = (), None

    with ThreadPoolExecutor(n) as pool:
        results = list(pool.map(run, range(n)))
    if errors:
        raise next(
            (e for e in errors if not isinstance(e, threading.BrokenBarrierError)), None
        ) or (InterpretError("the devices of a shard_map wait for each other in vain"))
    return [
        _joined({k: parts[i] for k, parts in enumerate(results)}, spec, mesh)
        for i, spec in enumerate(out_specs)
    ]


def _within(
    inputs: Sequence[Array],
    graph: Graph,
    mesh: Mesh,
    in_specs: Sequence[Spec],
    out_specs: Sequence[Spec],
    manual_axes: Sequence[str],
) -> list[Array]:
    """A shard_map inside of another, which parts along further axes what its device has."""
    here, meeting = _here.number, _here.meeting
    if meeting is None or mesh != _here.mesh:
        raise InterpretError("a shard_map inside of another that has another mesh")
    parts = [x[_part(x, s, mesh, here)] for x, s in zip(inputs, in_specs, strict=True)]
    brought = meeting.exchange(here, evaluate(graph, parts))
    group = next(g for g in groups_of(mesh, manual_axes) if here in g)
    return [
        _joined({k: brought[k][i] for k in group}, spec, mesh) for i, spec in enumerate(out_specs)
    ]


def _part(x: Array, spec: Spec, mesh: Mesh, number: int) -> tuple[slice, ...]:
    """Where the part of a device is in an array."""
    sizes = dict(mesh)
    places = np.unravel_index(number, tuple(sizes.values()))
    at = dict(zip(sizes, map(int, places), strict=True))
    slices = []
    for length, axes in zip(np.shape(x), spec, strict=False):
        position = 0
        for axis in axes:
            position = position * sizes[axis] + at[axis]
        width = length // math.prod(sizes[axis] for axis in axes)
        slices.append(slice(position * width, (position + 1) * width))
    return tuple(slices)


def _joined(parts: Mapping[int, Array], spec: Spec, mesh: Mesh) -> Array:
    """The whole of which each device has its part; of equal parts, the last one's."""
    first = next(iter(parts.values()))
    sizes = dict(mesh)
    counts = [math.prod(sizes[axis] for axis in axes) for axes in spec]
    shape = [d * n for d, n in zip(np.shape(first), counts, strict=False)]
    whole = np.empty((*shape, *np.shape(first)[len(spec) :]), np.asarray(first).dtype)
    for number, part in parts.items():
        whole[_part(whole, spec, mesh, number)] = part
    return whole


# -- what devices do together --------------------------------------------------------------------


def _collective(*primitives: Primitive) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`@_collective(p)`: enter (arrays of the group, own place in it, params) -> own array."""

    def enter(meaning: Callable[..., Any]) -> Callable[..., Any]:
        def meet(*inputs: Array, **params: Any) -> Any:
            axes = c.axes_of(params)
            here = _here
            if here.meeting is None or any(axis not in dict(here.mesh) for axis in axes):
                listed = ", ".join(map(str, axes))
                raise InterpretError(f"a collective over {listed}", hint=c.NO_AXIS)
            groups = groups_of(here.mesh, axes, params.get("axis_index_groups"))
            group = next(g for g in groups if here.number in g)
            brought = here.meeting.exchange(here.number, inputs[0] if inputs else None)
            return meaning([brought[i] for i in group], group.index(here.number), params)

        means(*primitives)(meet)
        return meaning

    return enter


@_collective(c.psum, psum_invariant)
def _sum(xs: list[Array], here: int, params: Any) -> Array:
    return np.sum(np.stack(xs), axis=0).astype(np.asarray(xs[0]).dtype)


@_collective(c.pmax)
def _max(xs: list[Array], here: int, params: Any) -> Array:
    return np.max(np.stack(xs), axis=0)


@_collective(c.pmin)
def _min(xs: list[Array], here: int, params: Any) -> Array:
    return np.min(np.stack(xs), axis=0)


@_collective(c.ppermute)
def _permute(xs: list[Array], here: int, params: Any) -> Array:
    sender = {target: source for source, target in params["perm"]}.get(here)
    return np.zeros_like(xs[here]) if sender is None else xs[sender]


@_collective(c.pbroadcast)
def _broadcast(xs: list[Array], here: int, params: Any) -> Array:
    return xs[params["source"]]


@_collective(c.all_gather)
def _gather(xs: list[Array], here: int, params: Any) -> Array:
    join = np.concatenate if params["tiled"] else np.stack
    return join(xs, axis=params["all_gather_dimension"])


@_collective(c.reduce_scatter)
def _reduce_scatter(xs: list[Array], here: int, params: Any) -> Array:
    axis, total = params["scatter_dimension"], _sum(xs, here, params)
    if params["tiled"]:
        return np.split(total, len(xs), axis)[here]
    return np.take(total, here, axis)


@_collective(c.all_to_all)
def _all_to_all(xs: list[Array], here: int, params: Any) -> Array:
    pieces = [np.split(x, len(xs), params["split_axis"])[here] for x in xs]
    return np.concatenate(pieces, params["concat_axis"])


@_collective(c.axis_index)
def _index(xs: list[Array], here: int, params: Any) -> Array:
    return np.int32(here)


@means(pvary)
def vary(x: Array, axes: Any) -> Array:
    return x
