"""The private names of JAX that lowering needs, and nothing else: to be read when JAX moves, as is
jax_compat_calls.

The compile path below is JAX's own, not a second way into PJRT, because that is what the persistent
compilation cache, layouts, shardings, effects and the C++ dispatch are attached to.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import jax
import jax.dtypes as public_dtypes
import numpy as np

# InternalFloatingPointError: what jax_debug_nans raises from inside an execution; users must see
# the public one. should_tuple_args: TPU wants very long argument lists passed as one tuple.
# UNSPECIFIED is how "XLA may choose this sharding" is said. traceback_util: see boundary.
from jax._src import (
    api_util,
    core,
    dispatch,
    sharding_impls,
    traceback_util,
)

# UnloadedMeshExecutable compiles a module the way jax.jit does;
# private_mlir writes modules as bytes, and finds the sizes in them.
from jax._src.interpreters import mlir as private_mlir
from jax._src.interpreters import pxla

# The registry of key types: a type name such as key<fry> can only be resolved through its
# implementations.
from jax._src.random import prng
from jax.experimental.layout import Format
from jax.interpreters import mlir as jax_mlir

# DeviceList is the only form of a device assignment that the compile path accepts.
from jaxlib import xla_client
from jaxlib.mlir import ir
from jaxlib.mlir.passmanager import PassManager

from ..ir.types import ExtendedDtype

try:  # jaxlib._jax.pjit makes the C++ callable behind jax.jit; we can do without it
    cpp: Any = importlib.import_module("jaxlib._jax")
except ImportError:
    cpp = None

try:  # before jax 0.10.2, HloPrintOptions is in the module above
    _hlo: Any = importlib.import_module("jaxlib._hlo")
except ImportError:
    _hlo = cpp

dtypes: Any = public_dtypes  # typed as if it exported nothing
settings: Any = jax.config  # its options are not in its type
InternalFloatingPointError: type[Exception] = api_util.InternalFloatingPointError

Function = TypeVar("Function", bound=Callable[..., Any])


def boundary(fun: Function) -> Function:
    """The function, from whose errors tracebacks lose the frames that are not the user's, in the
    way that `jax_traceback_filtering` says."""
    bounded: Function = traceback_util.api_boundary(fun)
    return bounded


class TypeLike(Protocol):
    """Anything with a shape and a dtype; `weak` is read when it is there."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...


# --- MLIR


def make_ir_context() -> ir.Context:
    """A context with every dialect that JAX lowers to; one that JAX has in use is safe to share."""
    return jax_mlir.make_ir_context()


def parse_module(source: str | bytes, context: ir.Context | None = None) -> ir.Module:
    """Read a module from MLIR text or bytecode."""
    with context or make_ir_context(), ir.Location.unknown():
        return ir.Module.parse(source)


def attribute_of(value: Any) -> ir.Attribute:
    """A Python value or an array as the attribute that JAX makes of it."""
    return jax_mlir.ir_attribute(value)


def module_bytes(module: ir.Module) -> bytes:
    """Bytecode: the form that crosses contexts and keeps locations exact."""
    return jax_mlir.module_to_bytecode(module)


def run_mlir_passes(module: ir.Module, *names: str) -> None:
    with module.context:
        PassManager.parse(f"builtin.module({','.join(names)})").run(module.operation)


def element_type(dtype: Any, context: ir.Context) -> ir.Type:
    """The MLIR element type that a value of this dtype has in a module's signature."""
    with context, ir.Location.unknown():
        return jax_mlir.dtype_to_ir_type(
            np.dtype(np.bool_) if dtype == dtypes.float0 else np.dtype(dtype)
        )


# --- types


def to_aval(type_: TypeLike) -> Any:
    """The JAX type for ours: the one place where dtypes, key types and weak types are mapped."""
    if isinstance(type_, jax.core.ShapedArray):
        return type_
    weak = bool(getattr(type_, "weak", getattr(type_, "weak_type", False)))
    return jax.core.ShapedArray(tuple(type_.shape), to_dtype(type_.dtype), weak_type=weak)


def to_dtype(dtype: Any) -> Any:
    """NumPy dtypes stay; an extended dtype, which may be ours, becomes JAX's of the same name."""
    is_ours = isinstance(dtype, (str, ExtendedDtype))
    if not is_ours and (isinstance(dtype, np.dtype) or dtypes.issubdtype(dtype, dtypes.extended)):
        return dtype
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    if isinstance(name, str) and name.startswith("key<"):
        return key_dtype(name)
    return np.dtype(dtype)


KEY_TYPES: Final[dict[str, Any]] = {}
"""By their names here, JAX's types of keys of the generators of a user's own."""


def key_dtype(name: str) -> Any:
    """JAX's dtype of that name: `key<fry>`. Raises TypeError for an unknown generator."""
    found = KEY_TYPES.get(name)
    if found is not None:
        return found
    key_type: Any = prng.KeyTy
    for implementation in prng.prngs.values():
        dtype: Any = key_type(implementation)
        if dtype.name == name:
            return dtype
    if not name.startswith("key<"):
        raise TypeError(f"{name} is an extended dtype that JAX does not define: not supported")
    raise TypeError(f"{name} names no random number generator that JAX knows")


def key_implementation(tag: str) -> Any:
    """The generator of that tag (`fry`), as JAX's random primitives take it."""
    return key_dtype(f"key<{tag}>")._impl


def is_key(aval: Any) -> bool:
    return bool(dtypes.issubdtype(aval.dtype, dtypes.extended))


def base_shape_dtype(aval: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype as XLA sees them: a key is an array of words."""
    if not is_key(aval):
        return tuple(aval.shape), aval.dtype
    base = jax.eval_shape(jax.random.key_data, shape_struct(aval))
    return tuple(base.shape), base.dtype


def shape_struct(aval: Any) -> Any:
    """The public stand-in for an array of this type."""
    make: Any = jax.ShapeDtypeStruct
    return make(aval.shape, aval.dtype, weak_type=aval.weak_type)


# --- primitives


@functools.cache
def private_primitives() -> dict[str, Any]:
    """JAX's own primitives by name, those that it exports under no public name included."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("jax._src") and module is not None:
            for value in list(vars(module).values()):
                if isinstance(value, core.Primitive):
                    found.setdefault(value.name, value)
    return found


# --- callbacks


class HostParts(NamedTuple):
    """What a module needs of this process, as JAX's lowering reports it: its effects, the Python
    functions that it calls back by number, and what must live as long as it does.
    """

    ordered_effects: tuple[Any, ...]
    unordered_effects: tuple[Any, ...]
    callbacks: tuple[Any, ...]
    keepalive: tuple[Any, ...]


NO_HOST_PARTS = HostParts((), (), (), ())


def host_parts(lowered: Any) -> HostParts:
    """Of what `jax.jit(f).lower(...)` returned."""
    found = lowered._lowering.compile_args
    names = ("ordered_effects", "unordered_effects", "host_callbacks", "keepalive")
    return HostParts(*(tuple(found[name] or ()) for name in names))


def module_of(lowered: Any) -> ir.Module:
    """The StableHLO of what `jax.jit(f).lower(...)` returned, which is JAX's own object. Programs
    that were exported for sizes left open, and are called in it, get the sizes that they have."""
    module = lowered.compiler_ir("stablehlo")
    state = lowered._lowering.compile_args.get("shape_poly_state")
    is_open = state is not None and state.uses_dim_vars
    return private_mlir.refine_polymorphic_shapes(module) if is_open else module


# --- compiling


def devices_for(platform: str | None) -> tuple[Any, ...]:
    """The one device that an uncommitted computation runs on: as jax.jit chooses it, or the
    platform's first.
    """
    if platform is not None:
        return (jax.local_devices(backend=platform)[0],)
    chosen = settings.jax_default_device
    if isinstance(chosen, str):
        return (jax.local_devices(backend=chosen)[0],)
    return (chosen or jax.local_devices()[0],)


def load(
    module: ir.Module,
    name: str,
    avals: tuple[Sequence[Any], Sequence[Any]],
    shardings: tuple[Sequence[Any], Sequence[Any]],
    in_layouts: Sequence[Any],
    devices: Sequence[Any],
    committed: bool,
    options: Mapping[str, Any],
    host: tuple[Sequence[Any], Sequence[Any], Sequence[Any], Any],
    mesh: jax.sharding.Mesh | None = None,
    client: Any = None,
) -> Any:
    """Compile with JAX's caches and load; `host` is ordered effects, other effects, callbacks, what
    keeps them alive. Shardings that XLA chooses for outputs are told in the axes of `mesh`.
    `client` stands for the PJRT client of the devices.

    A sharding of None leaves the choice to XLA. No argument is dropped: the caller decides what a
    program reads.
    """
    (ins, outs), (ordered, unordered, callbacks, keepalive) = avals, host
    unspecified: Any = getattr(sharding_impls, "UNSPECIFIED")  # noqa: B009
    in_shardings, out_shardings = (
        tuple(unspecified if s is None else s for s in group) for group in shardings
    )
    backend = client or devices[0].client
    return pxla.UnloadedMeshExecutable.from_hlo(
        name,
        module,
        global_in_avals=tuple(ins),
        global_out_avals=tuple(outs),
        in_shardings=in_shardings,
        out_shardings=out_shardings,
        tuple_args=dispatch.should_tuple_args(len(ins), backend.platform),
        unordered_effects=list(unordered),
        ordered_effects=list(ordered),
        host_callbacks=list(callbacks),
        keepalive=keepalive,
        kept_var_idx=set(range(len(ins))),
        backend=backend,
        device_list=xla_client.DeviceList(tuple(devices)),
        committed=committed,
        in_layouts=tuple(in_layouts),
        out_layouts=(None,) * len(outs),
        compiler_options_kvs=tuple(options.items()),
        num_devices=len(devices),
        context_mesh=mesh,
        **_FURTHER,
    )


_FURTHER: dict[str, Any] = (
    {"auto_spmd_lowering": False}
    if "auto_spmd_lowering" in inspect.signature(pxla.UnloadedMeshExecutable.from_hlo).parameters
    else {}
)
"""What jax 0.10.0 wants to know besides."""


def to_hlo(module: ir.Module) -> Any:
    """A StableHLO module as XLA's own computation."""
    return cpp.mlir.mlir_module_to_xla_computation(private_mlir.module_to_bytecode(module))


def hlo_text(computation: Any, locations: bool) -> str:
    """XLA's text of a computation, with or without where its operations come from."""
    options = _hlo.HloPrintOptions.short_parsable() if locations else None
    if options is None:
        return str(computation.as_hlo_text())
    options.print_metadata = True
    return str(computation.as_hlo_module().to_string(options))


def unoptimised_costs(module: ir.Module, platform: str) -> dict[str, float]:
    """XLA's estimates for a module as it is."""
    backend = jax.devices(platform)[0].client
    return dict(cpp.hlo_module_cost_analysis(backend, to_hlo(module).as_hlo_module()))


def shardings(loaded: Any) -> tuple[list[Any], list[Any]]:
    """Where all inputs and outputs of an executable are."""
    return list(loaded._in_shardings), list(loaded._out_shardings)


def unusual_layout(x: Any) -> Any | None:
    """How an array is laid out in memory, where the user has chosen another than the usual way."""
    if not getattr(x, "committed", False) or is_key(x.aval):
        return None
    layout = x.format.layout
    return None if pxla.is_default_layout(layout, x.sharding, x.aval) else layout


def layout_text(layout: Any, aval: Any) -> str:
    """A layout in XLA's words."""
    return str(layout._to_xla_layout(aval.dtype))


def formats(loaded: Any) -> tuple[list[Any], list[Any]]:
    """Placement and layout of all inputs and outputs of an executable."""
    layouts = loaded._xla_in_layouts, loaded._xla_out_layouts
    ins, outs = (
        [Format(*x) for x in zip(*pair, strict=True)]
        for pair in zip(layouts, shardings(loaded), strict=True)
    )
    return ins, outs
