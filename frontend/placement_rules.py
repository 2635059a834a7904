"""Where values are: a program is of one device, so what puts them there changes nothing."""

from __future__ import annotations

from typing import Any

import jax

from ..ir.builder import Builder
from ..ir.errors import UsageError
from .annotation_rules import constrained
from .importer import Params, records
from .jax_compat import default_devices

Atoms = tuple[Any, ...]


@records("device_put")
def _device_put(b: Builder, inputs: Atoms, params: Params) -> Atoms:
    for place in (*params["devices"], *params["srcs"]):
        check_place("device_put", place)
    return inputs


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
        raise UsageError(
            claim, hint="types say nothing of devices here: make the mesh with AxisType.Auto axes"
        )
    devices = place.device_set
    if len(devices) > 1 or not (anywhere or devices <= default_devices()):
        raise UsageError(claim, hint=hint)


def _default_memories() -> set[str]:
    return {device.default_memory().kind for device in default_devices()}
