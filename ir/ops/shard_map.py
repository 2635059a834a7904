"""A program for each device of a mesh, on its own part of every operand.

A mesh is a tuple of (axis name, size). A spec says, for each axis of an array, along which axes of
the mesh it is cut, the major one first: `(("i",), ())` is JAX's `P("i", None)`. Along the axes that
a spec does not name, all devices have the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import TypeRuleError
from ..graph import Graph, walk_graphs
from ..primitive import REQUIRED, Types, define
from ..types import TensorType
from .call import check_arguments

Mesh = tuple[tuple[str, int], ...]
Spec = tuple[tuple[str, ...], ...]


def _infer_shard_map(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph, sizes, manual = params["graph"], dict(params["mesh"]), params["manual_axes"]
    in_specs, out_specs = params["in_specs"], params["out_specs"]
    outputs: Types = graph.output_types
    if len(in_specs) != len(types) or len(out_specs) != len(outputs):
        raise TypeRuleError(
            f"shard_map of @{graph.name} with {len(types)} operands and {len(outputs)} outputs has "
            f"{len(in_specs)} in_specs and {len(out_specs)} out_specs"
        )
    for spec, type in zip((*in_specs, *out_specs), (*types, *outputs), strict=True):
        _check_spec(spec, type, sizes, manual)
    local = [part_type(t, spec, sizes) for t, spec in zip(types, in_specs, strict=True)]
    check_arguments("shard_map", graph, tuple(local))
    return tuple(whole_type(t, s, sizes) for t, s in zip(outputs, out_specs, strict=True))


def _check_spec(spec: Spec, type: TensorType, sizes: dict[str, int], manual: Sequence[str]) -> None:
    named = [axis for axes in spec for axis in axes]
    wrong = next((axis for axis in named if axis not in sizes or axis not in manual), None)
    if wrong is not None:
        raise TypeRuleError(f"the spec {spec} names {wrong!r}, which is no manual axis of the mesh")
    if len(set(named)) != len(named) or len(spec) != len(type.shape):
        raise TypeRuleError(f"the spec {spec} does not fit an array of type {type}")


def part_type(whole: TensorType, spec: Spec, sizes: dict[str, int]) -> TensorType:
    """The type of one device's part. Raises TypeRuleError where it does not divide the whole."""
    shape = []
    for length, axes in zip(whole.shape, spec, strict=True):
        n = math.prod(sizes[axis] for axis in axes)
        if length % n:
            raise TypeRuleError(f"an axis of {whole} cannot be cut into {n} parts along {axes}")
        shape.append(length // n)
    return whole.with_shape(tuple(shape))


def whole_type(part: TensorType, spec: Spec, sizes: dict[str, int]) -> TensorType:
    """The type of what parts of this type make up."""
    counts = [math.prod(sizes[axis] for axis in axes) for axes in spec]
    return part.strong.with_shape(tuple(d * n for d, n in zip(part.shape, counts, strict=True)))


shard_map = define(
    "shard_map",
    _infer_shard_map,
    defaults={
        "graph": REQUIRED,
        "mesh": REQUIRED,
        "devices": (),
        "manual_axes": REQUIRED,
        "in_specs": REQUIRED,
        "out_specs": REQUIRED,
        "check_vma": True,
    },
    has_regions=True,
    family="collective",
)
"""The graph for each device, applied to its parts; the parts that it returns, put together.

devices: their numbers, in the order of the mesh; none, if the mesh is to be found where the program
runs. manual_axes: the axes of the mesh along which the program is of one device; along the others
the compiler parts it.

check_vma: the graph says what differs between devices. Then `pvary` stands wherever a value that is
the same on all meets one that is not, and `psum_invariant` wherever a sum is the same on all: each
is the transpose of the other. Without it, sums are `psum`, each its own transpose, and what is the
same on several devices is, for derivatives, the mean of what they have.
"""


def _same(types: Types, params: dict[str, Any]) -> TensorType:
    return types[0].strong


psum_invariant = define(
    "psum_invariant",
    _same,
    defaults={"axes": REQUIRED},
    linear_in=(0,),
    jointly_linear=True,
    family="collective",
)
"""The sum over all devices along the axes, as a value that is one and the same on all of them."""

pvary = define(
    "pvary",
    _same,
    defaults={"axes": REQUIRED},
    linear_in=(0,),
    jointly_linear=True,
    family="collective",
)
"""A value that is the same on all devices along the axes, as one that may differ."""


# -- meshes --------------------------------------------------------------------------------------


def groups_of(
    mesh: Mesh, axes: Sequence[str | None], index_groups: Sequence[Sequence[int]] | None = None
) -> list[list[int]]:
    """The devices that do something together along these axes, by number, row-major in the axes.

    `index_groups` parts the members of an axis further. Raises KeyError for a name that no axis of
    the mesh has.
    """
    names = [name for name, _ in mesh]
    places = {name: i for i, name in enumerate(names)}
    chosen = [places[axis] for axis in axes]  # type: ignore[index]
    others = [i for i in range(len(names)) if i not in chosen]
    numbers = np.arange(math.prod(size for _, size in mesh)).reshape([size for _, size in mesh])
    rows = numbers.transpose((*others, *chosen)).reshape(-1, math.prod(mesh[i][1] for i in chosen))
    groups: list[list[int]] = rows.tolist()
    if index_groups is None:
        return groups
    return [[group[i] for i in part] for group in groups for part in index_groups]


def missing_axes(spec: Spec, params: dict[str, Any]) -> tuple[str, ...]:
    """The manual axes of more than one device that a spec does not name."""
    named, sizes = {axis for axes in spec for axis in axes}, dict(params["mesh"])
    return tuple(a for a in params["manual_axes"] if a not in named and sizes[a] > 1)


def meshes_in(main: Graph) -> dict[Graph, Mesh]:
    """The graphs that run on each device of a mesh, with the mesh.

    Raises TypeRuleError for a graph that does so on two different ones.
    """
    found: dict[Graph, Mesh] = {}
    for graph, mesh in _bodies(walk_graphs(main)):
        for inner in walk_graphs(graph):
            if found.setdefault(inner, mesh) != mesh:
                raise TypeRuleError(f"@{inner.name} runs on two meshes, {found[inner]} and {mesh}")
    return found


def manual_axes_in(main: Graph) -> dict[Graph, set[frozenset[str]]]:
    """Along which axes the program is of one device where a graph runs, for each place of it."""
    found: dict[Graph, set[frozenset[str]]] = {}
    waiting: list[tuple[Graph, frozenset[str]]] = [(main, frozenset())]
    while waiting:
        graph, axes = waiting.pop()
        if axes in found.setdefault(graph, set()):
            continue
        found[graph].add(axes)
        for eqn in graph.equations:
            inner = axes.union(parted_axes(eqn.params)) if eqn.primitive is shard_map else axes
            waiting.extend((region, inner) for region in eqn.regions())
    return found


def parted_axes(params: dict[str, Any]) -> tuple[str, ...]:
    """The manual axes of a shard_map; none if they have one device."""
    sizes, axes = dict(params["mesh"]), params["manual_axes"]
    return axes if any(sizes[axis] > 1 for axis in axes) else ()


def mesh_in(main: Graph) -> tuple[tuple[int, ...], Mesh]:
    """The numbers of the devices that a program is for, none if it does not say, and their mesh.

    Raises TypeRuleError for a program of several meshes of different devices.
    """
    found: tuple[int, ...] = ()
    mesh: Mesh = ()
    for graph in walk_graphs(main):
        for eqn in graph.equations:
            devices = eqn.params["devices"] if eqn.primitive is shard_map else ()
            if found and devices and devices != found:
                raise TypeRuleError(f"a program runs on the devices {found} and on {devices}")
            if devices and not found:
                found, mesh = devices, eqn.params["mesh"]
    return found, mesh


def _bodies(graphs: Iterable[Graph]) -> Iterable[tuple[Graph, Mesh]]:
    for graph in graphs:
        for eqn in graph.equations:
            if eqn.primitive is shard_map:
                yield eqn.params["graph"], eqn.params["mesh"]
