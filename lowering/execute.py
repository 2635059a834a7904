"""StableHLO -> executable: compile a module through XLA and call it with arrays.

An `Executable` is flat: arrays in, arrays out. Trees, static arguments and signatures are
dispatch's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxlib.mlir import ir

from ..ir.ops.placement import DEVICE, HOST
from . import jax_compat
from .ahead import client_for
from .annotate import annotate, check_signature
from .barriers import barrier_options
from .jax_compat import TypeLike


@dataclass(frozen=True)
class Placement:
    """Where a program runs: its devices, and one sharding an input (None: wherever the program
    runs). How an input is laid out in memory there, where that is not the usual way. The mesh in
    whose axes the shardings of outputs are told. Whether the user asked for the devices.
    """

    devices: tuple[Any, ...]
    in_shardings: tuple[Any, ...]
    in_layouts: tuple[Any, ...] = ()
    mesh: jax.sharding.Mesh | None = None
    is_asked_for: bool = False

    @property
    def committed(self) -> bool:
        """Whether the user chose this place: then the outputs are bound to it too."""
        is_told = any(s is not None for s in self.in_shardings)
        return self.is_asked_for or len(self.devices) > 1 or is_told


def place(
    arrays: Sequence[Any],
    numbers: Sequence[int] = (),
    axes: Sequence[tuple[str, int]] = (),
    wanted: Any = None,
) -> Placement:
    """Follow the committed arrays, as jax.jit does, and what stands for such; without one, the
    default device, or the devices of these numbers, which a program is for, in a mesh of these
    axes. Raises ValueError where those are not the device `wanted`."""
    shardings = tuple(map(_place_of, arrays))
    layouts = tuple(map(jax_compat.unusual_layout, arrays))
    chosen: tuple[Any, ...] | None = None
    for i, sharding in enumerate(shardings):
        if sharding is None:
            continue
        devices = _device_assignment(sharding)
        if chosen is not None and devices != chosen:
            raise ValueError(
                f"arguments are committed to different devices: argument {i} to {_ids(devices)}, "
                f"an earlier one to {_ids(chosen)}; move one with jax.device_put"
            )
        chosen = devices
    if numbers:
        meant = _devices_numbered(numbers)
        if chosen is not None and chosen != meant:
            raise ValueError(
                f"arguments are committed to {_ids(chosen)}, the program is for {_ids(meant)}; "
                "move them with jax.device_put"
            )
        _check_wanted(meant, wanted, "the program is for")
        return Placement(meant, shardings, layouts, _mesh(meant, axes), wanted is not None)
    if wanted is not None:
        _check_wanted(chosen, wanted, "arguments are committed to")
        return Placement((wanted,), shardings, layouts, is_asked_for=True)
    return Placement(chosen or jax_compat.devices_for(None), shardings, layouts)


def _place_of(x: Any) -> Any:
    """Where the user has put an array, or says that one will be."""
    if isinstance(x, jax.ShapeDtypeStruct):
        is_somewhere = not isinstance(getattr(x.sharding, "mesh", None), jax.sharding.AbstractMesh)
        return x.sharding if is_somewhere else None
    return x.sharding if getattr(x, "committed", False) else None


def _check_wanted(found: tuple[Any, ...] | None, wanted: Any, claim: str) -> None:
    if wanted is not None and found is not None and found != (wanted,):
        raise ValueError(
            f"{claim} {_ids(found)}, and jit was asked to run on {_ids((wanted,))}; move arguments "
            "with jax.device_put, or do not ask"
        )


def _mesh(devices: Sequence[Any], axes: Sequence[tuple[str, int]]) -> jax.sharding.Mesh:
    names, sizes = zip(*axes, strict=True)
    auto = (jax.sharding.AxisType.Auto,) * len(names)
    return jax.sharding.Mesh(np.asarray(devices).reshape(sizes), names, axis_types=auto)


def _devices_numbered(numbers: Sequence[int]) -> tuple[Any, ...]:
    by_number = {device.id: device for device in jax.devices()}
    missing = [n for n in numbers if n not in by_number]
    if missing:
        raise ValueError(
            f"the program is for the devices {list(numbers)}; this process has none of number "
            f"{missing[0]}"
        )
    return tuple(by_number[n] for n in numbers)


def _device_assignment(sharding: Any) -> tuple[Any, ...]:
    """Devices in the order in which a sharding numbers its shards."""
    if isinstance(sharding, jax.sharding.NamedSharding):
        return tuple(sharding.mesh.devices.flat)
    return tuple(sorted(sharding.device_set, key=lambda device: device.id))


def _held(dtype: Any) -> Any:
    """The dtype in which a program holds such values: what has no numbers, as booleans."""
    return np.dtype(bool) if dtype == jax.dtypes.float0 else dtype


def _ids(devices: Sequence[Any]) -> str:
    return f"{devices[0].platform} {[d.id for d in devices]}"


def shardings_on_host(where: Placement, on_host: Sequence[bool]) -> list[Any] | None:
    """Shardings for outputs of which some are in the host's memory; None if none is.

    Raises ValueError for a program of several devices.
    """
    if not any(on_host):
        return None
    if len(where.devices) > 1:
        raise ValueError(
            "a program of several devices returns a value in the host's memory; "
            "move it to the device with jax.device_put before it is returned"
        )
    (device,) = where.devices
    return [
        SingleDeviceSharding(device, memory_kind=HOST if is_there else DEVICE)
        for is_there in on_host
    ]


@dataclass(frozen=True, eq=False)
class Executable:
    """A compiled program, loaded on its devices."""

    name: str
    in_avals: tuple[Any, ...]
    out_avals: tuple[Any, ...]
    placement: Placement
    donated: tuple[int, ...] = ()
    loaded: Any = field(default=None, repr=False)

    def call(self, *arrays: Any) -> list[Any]:
        """Run on arrays (or NumPy arrays, or Python numbers) of the compiled types."""
        self._check_arguments(arrays)
        return self.run(arrays)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """`call` without its checks, for a caller that has made them."""
        try:
            return list(self.loaded.unsafe_call(*arrays))
        except jax_compat.InternalFloatingPointError as error:
            kind = getattr(error, "ty", "nan")
            raise FloatingPointError(
                f"invalid value ({kind}) in an output of {self.name}"
            ) from None

    def _check_arguments(self, arrays: Sequence[Any]) -> None:
        if len(arrays) != len(self.in_avals):
            raise TypeError(f"{self.name} takes {len(self.in_avals)} arrays, got {len(arrays)}")
        for i, (x, want) in enumerate(zip(arrays, self.in_avals, strict=True)):
            have = jax.typeof(x)
            if (have.shape, _held(have.dtype)) != (want.shape, _held(want.dtype)):
                raise TypeError(
                    f"argument {i} of {self.name} is {have.str_short()}, "
                    f"it was compiled for {want.str_short()}"
                )
            self._check_device(i, x)
            self._check_layout(i, x)

    def _check_device(self, i: int, x: Any) -> None:
        devices = self.placement.devices
        if getattr(x, "committed", False) and x.sharding.device_set != set(devices):
            raise ValueError(
                f"argument {i} of {self.name} is committed to "
                f"{_ids(_device_assignment(x.sharding))}, "
                f"it was compiled for {_ids(devices)}"
            )

    def _check_layout(self, i: int, x: Any) -> None:
        layout, want = jax_compat.unusual_layout(x), self._layout(i)
        if layout != want:
            raise ValueError(
                f"argument {i} of {self.name} is laid out in memory as {layout or 'usual'}, and "
                f"it was compiled for {want or 'the usual layout'}; move it with jax.device_put"
            )

    def _layout(self, i: int) -> Any:
        layouts = self.placement.in_layouts
        return layouts[i] if layouts else None

    @property
    def in_shardings(self) -> list[Any]:
        return jax_compat.shardings(self.loaded)[0]

    @property
    def out_shardings(self) -> list[Any]:
        return jax_compat.shardings(self.loaded)[1]

    def formats(self) -> tuple[list[Any], list[Any]]:
        """Placement and layout of all inputs, and of all outputs."""
        return jax_compat.formats(self.loaded)

    def memory_analysis(self) -> Any:
        """XLA's account of argument, output, temporary and code bytes."""
        return self.loaded.memory_analysis()

    def cost_analysis(self) -> dict[str, float]:
        """XLA's estimates: flops, bytes accessed, ..."""
        costs = self.loaded.cost_analysis()
        return dict(costs[0] if isinstance(costs, list) else costs)

    def as_text(self) -> str:
        """The optimised HLO."""
        return str(self.loaded.as_text())


def compile_module(
    mlir_module: ir.Module,
    *,
    name: str,
    in_types: Sequence[TypeLike],
    out_types: Sequence[TypeLike],
    platform: str | None = None,
    placement: Placement | None = None,
    out_shardings: Sequence[Any] | None = None,
    compiler_options: Mapping[str, Any] | None = None,
    donated: Sequence[int] = (),
    ordered_effects: Sequence[Any] = (),
    unordered_effects: Sequence[Any] = (),
    host_callbacks: Sequence[Any] = (),
    keepalive: Any = None,
    has_barriers: bool = False,
    has_borders: bool = False,
    on_host: Sequence[bool] = (),
) -> Executable:
    """Compile `@main` of a StableHLO module; JAX's persistent compilation cache serves it when it
    is on.

    All arguments of the module are kept, used or not. The module given is not changed. `platform`
    picks a backend and binds the outputs to it; `placement` (see `place`) picks devices and
    shardings. Effects,
    callbacks and what keeps them alive are those that JAX's own lowering of an effectful primitive
    reports. With `has_barriers`, XLA is asked to keep optimization barriers to the end; with
    `has_borders`, those that are in no loop. The outputs `on_host` stay in the host's memory.
    """
    ins, outs = tuple(map(jax_compat.to_aval, in_types)), tuple(map(jax_compat.to_aval, out_types))
    check_signature(mlir_module, name, (ins, outs), len(ordered_effects))
    where = placement or Placement(_devices(platform), (None,) * len(ins))
    kept = shardings_on_host(where, on_host)
    if kept and out_shardings:
        out_shardings = [s or own for s, own in zip(out_shardings, kept, strict=True)]
    out_shardings = out_shardings or kept
    shardings = (where.in_shardings, tuple(out_shardings or (None,) * len(outs)))
    committed = (
        where.committed or out_shardings is not None or _differs_from_default(where, platform)
    )
    module = annotate(
        mlir_module, name, (ins, outs), shardings, where.in_layouts,
        donated=donated, n_devices=len(where.devices), tokens=len(ordered_effects),
    )  # fmt: skip
    host = (ordered_effects, unordered_effects, host_callbacks, keepalive)
    options = compiler_options or {}
    if has_barriers or has_borders:
        options = barrier_options(where.devices[0].platform, options, in_loops=has_barriers)
    try:
        with client_for(module, where.devices) as client:
            loaded = jax_compat.load(
                module,
                name,
                (ins, outs),
                shardings,
                where.in_layouts or (None,) * len(ins),
                where.devices,
                committed,
                options,
                host,
                where.mesh,
                client,
            )
    except jax.errors.JaxRuntimeError as error:
        message = f"XLA could not compile {name} for {_ids(where.devices)}: {error}"
        raise jax.errors.JaxRuntimeError(message) from error
    return Executable(name, ins, outs, where, tuple(donated), loaded)


def _devices(platform: str | None) -> tuple[Any, ...]:
    try:
        return jax_compat.devices_for(platform)
    except RuntimeError as error:
        raise RuntimeError(f"no device to compile for on platform {platform}: {error}") from error


def _differs_from_default(where: Placement, platform: str | None) -> bool:
    return platform is not None and where.devices != jax_compat.devices_for(None)
