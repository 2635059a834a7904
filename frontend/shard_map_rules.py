"""shard_map of JAX: recorded as JAX traces it, and bound again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Equation, Graph
from ..ir.ops import shard_map as ops
from ..ir.ops.collective import axis_index
from ..ir.ops.indexing import dynamic_update_slice
from ..ir.types import INT32, TensorType, dtype_category
from .avals import to_struct
from .captures import constant_atom
from .collective_rules import MESH, axis_names
from .export import eval_graph
from .export_rules import binds
from .importer import Params, graph_of_open, records
from .jax_compat import axis_sizes, current_trace, extended_axes, newly_manual_axes, typeof
from .jax_compat_rules import noting_axes, set_mesh
from .locations import find_site

if TYPE_CHECKING:
    from .graph_trace import GraphTrace

Atoms = tuple[Any, ...]
INDEX = TensorType((), INT32)


@contextlib.contextmanager
def _reading(mesh: ops.Mesh, params: Params) -> Iterator[None]:
    """While the program of one device of this mesh is read, with what was in force when JAX traced
    it: rules in it are traced later, and their types compared with those of their functions."""
    manual = newly_manual_axes(params)
    sizes = {name: size for name, size in params["mesh"].shape.items() if name in manual}
    token = MESH.set(dict(mesh))
    try:
        with (
            noting_axes(bool(params["check_vma"])),
            extended_axes(sizes),
            jax.sharding.use_abstract_mesh(_manual(params["mesh"], manual)),
        ):
            yield
    finally:
        MESH.reset(token)


def _manual(mesh: Any, axes: Iterable[Any]) -> Any:
    """The mesh as a device sees it."""
    return mesh.abstract_mesh.update_axis_types(dict.fromkeys(axes, jax.sharding.AxisType.Manual))


# -- in --------------------------------------------------------------------------------------------


def record_shard_map(
    trace: GraphTrace, primitive: Any, function: Any, tracers: Sequence[Any], params: Params
) -> Any:
    """Record a call that JAX has not traced: JAX does it now, since it alone knows of each value
    along which axes it varies."""
    _refuse_explicit_axes(params)
    kept: list[Any] = []

    def bound(*arrays: Any) -> list[Any]:
        avals = tuple(map(typeof, arrays))
        given = {**params, "subfuns": (function,)}
        kept.append(primitive.bind_with_trace(current_trace(), arrays, avals, given))
        return list(kept[-1])

    atoms = [trace.atom(x) for x in tracers]
    closed = jax.make_jaxpr(bound)(*[to_struct(x.type) for x in atoms])
    graph = graph_of_open(closed.jaxpr)
    b = trace.builder
    consts = [constant_atom(b, x) if not _is_traced(x) else trace.atom(x) for x in closed.consts]
    outputs = [trace.tracer(y) for y in b.inline(graph, (*consts, *atoms))]
    return kept[0].update(outputs) if hasattr(kept[0], "update") else outputs


def _refuse_explicit_axes(params: Params) -> None:
    """JAX takes in_specs from the types of arguments there, which do not say it here."""
    mesh, (site, _) = params["mesh"], find_site(sys._getframe(1))
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    manual = [name for name in kinds if name in newly_manual_axes(params)]
    if any(kinds[name] == jax.sharding.AxisType.Explicit for name in manual):
        raise UsageError(
            f"a shard_map over axes of explicit sharding ({', '.join(map(str, manual))}) is not "
            "supported: the types of covector say nothing of devices",
            location=site.location if site is not None else None,
            hint="make the mesh with AxisType.Auto axes",
        )


def _is_traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


@records("shard_map")
def _record_shard_map(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    jaxpr = params["jaxpr"]
    mesh = tuple((str(name), int(size)) for name, size in params["mesh"].shape.items())
    with _reading(mesh, params):
        graph = graph_of_open(jaxpr)
    manual = frozenset(axis_names(tuple(newly_manual_axes(params))))
    outputs = graph.outputs
    return b.emit(
        ops.shard_map,
        *inputs,
        graph=graph,
        mesh=mesh,
        devices=_devices(params["mesh"]),
        manual_axes=tuple(name for name, _ in mesh if name in manual),
        in_specs=tuple(
            _spec(s, len(x.type.shape)) for s, x in zip(params["in_specs"], inputs, strict=True)
        ),
        out_specs=tuple(
            _spec(s, len(y.type.shape)) for s, y in zip(params["out_specs"], outputs, strict=True)
        ),
        check_vma=bool(params["check_vma"]),
    )


def _devices(mesh: Any) -> tuple[int, ...]:
    """The numbers of the devices of a mesh; of one that is abstract, those of the mesh of these
    axes that is set around the program, or none."""
    if not isinstance(mesh, jax.sharding.Mesh):
        around = set_mesh()
        is_it = not around.empty and around.abstract_mesh.shape_tuple == mesh.shape_tuple
        if MESH.get() is not None or not is_it:  # the first: inside of another shard_map
            return ()
        mesh = around
    return tuple(int(device.id) for device in mesh.devices.flat)


def _spec(spec: Any, rank: int) -> ops.Spec:
    parts = [*spec, *[None] * rank][:rank]
    return tuple(() if part is None else axis_names(part) for part in parts)


@records("pvary")
def _record_pvary(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    """That a value may differ between devices is no matter of one device's program alone."""
    if MESH.get() is None:
        return inputs
    axes = axis_names(params["axes"])
    return tuple(y for x in inputs for y in b.emit(ops.pvary, x, axes=axes))


@records("psum_invariant")
def _record_psum_invariant(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    axes = axis_names(params["axes"])
    return tuple(y for x in inputs for y in b.emit(ops.psum_invariant, x, axes=axes))


@records("all_gather_invariant")
def _record_all_gather_invariant(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    """The parts of all devices, as a value that is the same on all: a sum of parts, each in its
    place. So is the transpose right, in which a device takes its own part of the cotangent."""
    sizes = MESH.get() or axis_sizes()
    axes, dim = axis_names(params["axis_name"]), params["all_gather_dimension"]
    place = b.literal(0, INDEX)
    for axis in axes:
        (index,) = b.emit(axis_index, axis_name=(axis,))
        place = b.add(b.mul(place, b.literal(sizes[axis], INDEX)), index)
    return tuple(_in_place(b, x, axes, dim, place, params) for x in inputs)


def _in_place(b: Builder, x: Any, axes: Any, dim: int, place: Any, params: Params) -> Any:
    """The sum along the axes of the x of each device at its place in zeros."""
    shape, dtype, size = list(x.type.shape), x.type.dtype, params["axis_size"]
    if params["tiled"]:
        place = b.mul(place, b.literal(shape[dim], INDEX))
    else:
        shape.insert(dim, 1)
        kept = tuple(i for i in range(len(shape)) if i != dim)
        x = b.broadcast(x, tuple(shape), kept)
    is_flag = dtype_category(dtype) == "bool"
    if is_flag:
        x = b.convert(x, INT32)
    shape[dim] *= size
    zeros = b.full(x.type.strong.with_shape(tuple(shape)), 0)
    starts = [place if i == dim else b.literal(0, INDEX) for i in range(len(shape))]
    (placed,) = b.emit(dynamic_update_slice, zeros, x, *starts)
    (y,) = b.emit(ops.psum_invariant, placed, axes=axes)
    return b.convert(y, dtype) if is_flag else y


# -- out -------------------------------------------------------------------------------------------


@binds("shard_map")
def _bind_shard_map(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    """With check_vma off: what JAX would check of the values has been checked where it was traced,
    and derivatives of a whole shard_map are the same with it and without."""
    p = eqn.params
    graph: Graph = p["graph"]
    names, sizes = zip(*p["mesh"], strict=True)
    shard_map: Any = jax.shard_map
    run = shard_map(
        lambda *parts: tuple(eval_graph(graph, parts)),
        mesh=_mesh(p["devices"], names, sizes),
        in_specs=tuple(map(_partition, p["in_specs"])),
        out_specs=tuple(map(_partition, p["out_specs"])),
        axis_names=set(p["manual_axes"]),
        check_vma=False,
    )
    return list(run(*arrays))


def _mesh(numbers: Sequence[int], names: tuple[str, ...], sizes: tuple[int, ...]) -> Any:
    auto = (jax.sharding.AxisType.Auto,) * len(names)
    if not numbers:
        around = jax.sharding.get_abstract_mesh()  # inside of another shard_map it must be that one
        is_inside = around.axis_names == names and around.axis_sizes == sizes
        return around if is_inside else jax.sharding.AbstractMesh(sizes, names, axis_types=auto)
    by_number = {device.id: device for device in jax.devices()}
    devices = np.asarray([by_number[i] for i in numbers]).reshape(sizes)
    return jax.sharding.Mesh(devices, names, axis_types=auto)


def _partition(spec: ops.Spec) -> Any:
    make: Any = jax.P
    return make(*(axes if axes else None for axes in spec))


@binds("pvary")
def _bind_pvary(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    return arrays


@binds("psum_invariant")
def _bind_psum_invariant(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    return [jax.lax.psum(arrays[0], eqn.params["axes"])]
