"""Where values are: a program is of one device, so that what puts them on it changes nothing; which
memory of the device holds them is part of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Equation
from ..ir.ops.placement import DEVICE, HOST, MEMORIES
from .annotation_rules import constrained
from .collective_rules import MESH
from .export_rules import binds
from .importer import Params, records
from .jax_compat import default_devices

Atoms = tuple[Any, ...]


@records("device_put")
def _device_put(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    for place in (*params["devices"], *params["srcs"]):
        if memory_of(place) is None:
            check_place("device_put", place)
    return tuple([_moved(b, x, p) for x, p in zip(inputs, params["devices"], strict=True)])


def _moved(b: Builder, x: Any, place: Any) -> Any:
    """The value in the memory that a place names, if it names one; what is fetched is taken to come
    from the host, where the derivative puts it again."""
    memory = memory_of(place)
    if memory is None:
        return x
    source = DEVICE if memory != DEVICE else HOST
    return b.device_put(x, source=source, target=memory)


@binds("device_put")
def _to_jax(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    is_device = eqn.params["target"] == DEVICE
    space = jax.memory.Space.Device if is_device else jax.memory.Space.Host
    return [jax.device_put(arrays[0], space)]


def memory_of(place: Any) -> str | None:
    """The memory that a place names beside the one where values are anyway: of a memory space, or
    of a sharding on the default device."""
    if isinstance(place, jax.memory.Space):
        return DEVICE if place == jax.memory.Space.Device else HOST
    kind = getattr(place, "memory_kind", None)
    if kind in (None, DEVICE, *_default_memories()) or kind not in MEMORIES:
        return None
    if len(place.device_set) > 1 or not place.device_set <= default_devices():
        return None
    return str(kind)


@records("sharding_constraint")
def _sharding_constraint(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    check_place("with_sharding_constraint", params["sharding"], anywhere=True)
    layout = params.get("layout")
    return inputs if layout is None else (constrained(b, inputs[0], layout),)


@records("reshard")
def _reshard(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    check_place("reshard", params["dst_sharding"], anywhere=True)
    return inputs


def check_place(what: str, place: Any, anywhere: bool = False) -> None:
    """Raise UsageError unless a place is the default device, or (`anywhere`) any one device."""
    if place is None:
        return
    claim = f"{what} to {place} is not supported in a traced function: a program is of one device"
    hint = "place the arguments with jax.device_put before the call: the program runs there"
    if isinstance(place, jax.Device):
        if place not in default_devices():
            raise UsageError(claim, hint=hint)
        return
    if not isinstance(place, jax.sharding.Sharding):
        raise UsageError(claim, hint=hint)
    if place.memory_kind not in (None, "device", *_default_memories()):
        raise UsageError(f"{what} to the memory {place.memory_kind} is not supported")
    mesh: Any = getattr(place, "mesh", None)
    if mesh is not None and mesh.size == 1 and anywhere:
        return
    if isinstance(mesh, jax.sharding.AbstractMesh):
        is_manual = set(mesh.axis_types) == {jax.sharding.AxisType.Manual}
        if is_manual and anywhere and place.is_fully_replicated:
            return  # the part of a device is there
        if MESH.get() is not None or jax.sharding.AxisType.Manual in mesh.axis_types:
            raise UsageError(
                claim,
                hint="leave it out inside of the shard_map: along the axes that it is not manual "
                "over, the compiler places values",
            )
        raise UsageError(
            claim, hint="types say nothing of devices here: make the mesh with AxisType.Auto axes"
        )
    devices = place.device_set
    if len(devices) > 1 or not (anywhere or devices <= default_devices()):
        raise UsageError(claim, hint=hint)


def _default_memories() -> set[str]:
    return {device.default_memory().kind for device in default_devices()}
