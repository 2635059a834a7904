"""The private names of JAX that the frontend needs, in files to read when JAX moves: this one, and
those of custom rules (jax_compat_rules) and mutable arrays (jax_compat_refs).

Supported: jax 0.10 to 0.12. What differs between them is decided here.
"""

from __future__ import annotations

import contextlib
import enum
import functools
from collections.abc import Callable, Iterator, Mapping
from inspect import isfunction
from types import FrameType
from typing import Any

import jax
from jax._src import (
    api,
    config,
    core,
    debugging,
    dtypes,
    linear_util,
    literals,
    source_info_util,
    traceback_util,
)

# NotNeeded stands in a pull-back for an argument that is not a residual; DontWant, DidntWant and
# GradRef for cotangents that are not to be, were not, or were added to a ref (also in jax.ad).
# Trace, Tracer: the protocol that a tracing interpreter implements; ours is a subclass of each.
# BatchTracer: what variables of functions under JAX's vmap hold.
# set_current_trace, trace_ctx: which trace records the operations that run now;
# eval_context: none does.
# typeof: the JAX type of anything that may be an operand.
# concrete_or_error: who asks for values to hand them on.
# escaped_tracer_error: JAX's own words for a tracer that outlived its trace.
# leaked_tracer_error: which objects hold a tracer that should be gone.
# Primitive, Jaxpr, Literal: what jaxprs are made of.
# TypedInt, TypedFloat, TypedComplex: Python scalars with a dtype, for weakly typed literals.
# WrappedFun: JAX's flat functions, the form in which custom rules travel.
# canonicalize_value: an operand as bind sees it (64-bit values narrowed, Python scalars typed).
# threefry_partitionable: an option that decides which numbers a key gives.
# eager_constant_folding: whether what depends on no tracer is computed while tracing.
# debugging: its module is where jax.debug.callback wraps the user's function.
# is_user_filename, _source_info_context: where an operation came from.
# register_exclusion: our frames are not the user's, in JAX's tracebacks as in ours.
# lower_jaxpr2: see `lowered`.
# ad, batching: the tables where authors register rules.
from jax._src.interpreters import ad, batching, partial_eval

# lax_internal: conversions that keep track of weak types.
from jax._src.lax import lax as lax_internal

# UNSPECIFIED is the sharding of which the user said nothing.
from jax._src.named_sharding import UNSPECIFIED

# Generators of random numbers, the types of their keys, and the operations on those.
from jax._src.random import prng

Trace: Any = core.Trace
Tracer: Any = core.Tracer
BatchTracer: Any = batching.BatchTracer
Primitive: Any = core.Primitive
ShapedArray: Any = core.ShapedArray
JaxprLiteral: Any = core.Literal
CotangentSum: Any = ad.ValAccum
NoCotangent: Any = ad.NullAccum
NotNeeded: Any = api.NotNeeded
DontWant: Any = api.DontWant
DidntWant: Any = api.DidntWant
GradRef: Any = api.GradRef
key_operations: Any = prng
typeof = core.typeof
set_current_trace = core.set_current_trace
eval_context = core.eval_context
escaped_tracer_error: Any = core.escaped_tracer_error
leaked_tracer_error: Any = core.leaked_tracer_error


def _canonicalize(x: Any) -> Any:
    """jax 0.10.0 knows nothing of tracers here, and its error for what is no array is no TypeError;
    later ones, in C++, hand tracers back."""
    try:
        return x if isinstance(x, core.Tracer) else dtypes.canonicalize_value(x)
    except dtypes.InvalidInputException as error:
        raise TypeError(str(error)) from None


canonicalize: Callable[[Any], Any] = (
    _canonicalize if isfunction(dtypes.canonicalize_value) else dtypes.canonicalize_value
)

FlatFunction: Any = linear_util.WrappedFun

ClosedJaxpr: Any = getattr(core, "ClosedJaxpr", core.Jaxpr)
"""A jaxpr with the values of its constants; since jax 0.12 every jaxpr may have them."""


def current_trace() -> Any:
    """The trace that records operations now; the evaluating trace when nothing is being traced."""
    trace = core.trace_ctx.trace
    return core.eval_trace if trace is None else trace


def is_eager() -> bool:
    """Whether operations are run one by one now, or recorded un-jitted by a trace of ours."""
    trace = current_trace()
    return trace is core.eval_trace or getattr(trace, "eager", False)


@functools.cache
def perturbed() -> Any:
    """A tracer of JAX's forward mode, of no value: one that has a tangent."""
    found: Any = object.__new__(ad.JVPTracer)
    found.tangent = None
    return found


def register_tracer(cls: Any) -> None:
    """Spare the look-up of a tracer's type the walk along its base classes."""
    core.pytype_aval_mappings[cls] = lambda x: x.aval


def evaluates_now(operands: Any) -> bool:
    """Whether an operation is to be run while tracing: under jax.ensure_compile_time_eval, or on
    float0, the dtype of no numbers, which programs do not have."""
    if config.eager_constant_folding.value:
        return not any(isinstance(x, core.Tracer) for x in operands)
    if not operands or isinstance(operands[0], core.Tracer):
        return False
    if getattr(operands[0], "dtype", None) != dtypes.float0:
        return False
    return not any(isinstance(x, core.Tracer) for x in operands)


def stage_now(value: Any) -> Any:
    """A concrete value as an array."""
    return core.eval_trace.stage_value(value)


def hands_on(frame: FrameType) -> bool:
    """Whether a frame is of the function of JAX's that asks for a value and gives it to others,
    which want an array: `jnp.unique` indexes by it."""
    return frame.f_code is core.concrete_or_error.__code__


def computing_now() -> Any:
    """A context in which operations run, although something is being traced."""
    return core.set_current_trace(core.eval_trace)


def evaluate(primitive: Any, operands: Any, params: Any) -> Any:
    """Run an operation although something is being traced."""
    avals = tuple(core.typeof(x) for x in operands)
    return primitive.bind_with_trace(core.eval_trace, tuple(operands), avals, params)


def evaluate_function(flat_fun: Any, operands: Any) -> Any:
    """Run a flat function although something is being traced."""
    with core.set_current_trace(core.eval_trace):
        return flat_fun.call_wrapped(*operands)


# --- types


def is_extended(dtype: Any) -> bool:
    return bool(jax.numpy.issubdtype(dtype, jax.dtypes.extended))


def generator_of(dtype: Any) -> Any:
    """The random number generator of a key type of JAX's, or None for other types."""
    return dtype._impl if isinstance(dtype, prng.KeyTy) else None


def key_type(generator: Any) -> Any:
    """The type of a generator's keys."""
    return prng.KeyTy(generator)


def is_registered(generator: Any) -> bool:
    """Whether JAX knows a generator by its name."""
    return any(known is generator for known in prng.prngs.values())


def threefry_partitionable() -> bool:
    return bool(config.threefry_partitionable.value)


def cast_as(example: Any, x: Any) -> Any:
    """x with the dtype of an example, and weakly typed if that is."""
    weak = dtypes.is_weakly_typed(example)
    return lax_internal._convert_element_type(x, jax.numpy.result_type(example), weak_type=weak)


# --- primitives


def scan_sizes(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many operands of a scan equation are consts and carries: since jax 0.12 told by trees."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def newly_manual_axes(params: Mapping[str, Any]) -> frozenset[Any]:
    """The axes that a shard_map makes manual; before jax 0.10.2 by another name."""
    name = "newly_manual_axes" if "newly_manual_axes" in params else "manual_axes"
    return frozenset(params[name])


def typed_scalar(value: Any, weak: bool) -> Any:
    """A scalar as an operand of exactly this type, whether 64-bit types are on or not."""
    if not weak or value.dtype.kind not in "ifc":
        return value
    kind = {"i": literals.TypedInt, "f": literals.TypedFloat, "c": literals.TypedComplex}
    return kind[value.dtype.kind](value.item(), value.dtype)


MODULES = ("jax._src", "jax.experimental.scheduling_groups")
KERNEL_MODULES = "jax._src.pallas"
"""How the names of the modules begin that define JAX's primitives, and those of its kernels."""


mapped_types: Any = batching.vmappables
"""The types that say themselves how vmap maps over them, in a table that others add to."""

specification_types: Any = batching.spec_types
"""The types of the axes that such types are mapped over, beside numbers."""


def is_mapped_type(x: Any) -> bool:
    return type(x) in mapped_types


def registered_rules(primitive: Any) -> set[str]:
    """Which of jvp, transpose and batch someone has registered with JAX."""
    tables = {
        "jvp": (ad.primitive_jvps,),
        "transpose": (ad.primitive_transposes, ad.fancy_transposes),
        "batch": (batching.fancy_primitive_batchers,),
    }
    made = {name: [table.get(primitive) for table in found] for name, found in tables.items()}
    return {name for name, rules in made.items() if any(map(_is_rule, rules))}


def _is_rule(rule: Any) -> bool:
    """Whether it is one: classes of primitives have methods, some of which only say that there is
    none."""
    return rule is not None and getattr(rule, "__qualname__", "") != "HiPrimitive.transpose"


def default_devices() -> set[Any]:
    """Where a program runs that nothing binds to a place."""
    chosen: Any = config.default_device.value
    if isinstance(chosen, str):
        return {jax.local_devices(backend=chosen)[0]}
    return {chosen or jax.local_devices()[0]}


def abstract_evaluation(
    primitive: Any, avals: Any, params: Mapping[str, Any]
) -> tuple[list[Any], Any]:
    """The types of the outputs of a primitive, and its effects."""
    out, effects = primitive.abstract_eval(*avals, **params)
    return (list(out) if primitive.multiple_results else [out]), effects


def is_inlined(params: Mapping[str, Any]) -> bool:
    """Whether a jit equation asks to be inlined: `inline` is a bool or, since jax 0.12, an enum."""
    inline = params["inline"]
    if isinstance(inline, enum.Enum):
        return inline.name in ("JAX_EARLY", "JAX_LATE")
    return bool(inline)


def jit_shardings(params: Mapping[str, Any]) -> list[Any]:
    """The shardings that a jit equation asks for."""
    groups = (params["in_shardings"], params["out_shardings"])
    return [s for group in groups for s in group if s is not UNSPECIFIED]


def has_layouts(params: Mapping[str, Any]) -> bool:
    """Whether a jit equation asks for memory layouts."""
    groups = (params["in_layouts"], params["out_layouts"])
    return any([x is not None for group in groups for x in group])


def is_default_sharding(value: Any) -> bool:
    """Whether a sharding says nothing: of the device that is the default one, over a mesh without
    axes, or of no axis of one in which no axis is part of types."""
    if isinstance(value, jax.sharding.SingleDeviceSharding) and value.memory_kind in (
        None,
        "device",
    ):
        return value.device_set == default_devices()
    mesh = getattr(value, "mesh", None)
    if mesh is None or mesh.empty:
        return mesh is not None
    spec = getattr(value, "spec", None)
    explicit = any(kind == jax.sharding.AxisType.Explicit for kind in mesh.axis_types)
    return spec is not None and not explicit and all(part is None for part in spec)


def lowered(closed_jaxpr: Any) -> Any:
    """The jaxpr without primitives that stand for others (searchsorted, since jax 0.12)."""
    return partial_eval.lower_jaxpr2(closed_jaxpr) if closed_jaxpr.is_high else closed_jaxpr


def equation_context(eqn: Any) -> Any:
    """A context manager: the options of JAX's under which an equation was traced."""
    return eqn.ctx.manager


def compiler_contexts() -> tuple[Any, Any]:
    """What is to run the operations recorded now, and what is to be told of them; None: nothing."""
    return config.compute_on_context_manager.value, config.xla_metadata_context_manager.value


@contextlib.contextmanager
def no_metadata() -> Iterator[None]:
    """Nothing is to be told of the operations recorded now."""
    told = config.xla_metadata_context_manager
    before = told.get_local()
    told.set_local(None)
    try:
        yield
    finally:
        told.set_local(before)


def library_closure(f: Any) -> tuple[Any, ...] | None:
    """What a function that JAX made around a user's closes over, the code first; None for others.

    Two such functions with equal closures do the same. (Of a user's closures that is not known.)
    """
    if getattr(f, "__module__", None) != debugging.__name__ or not getattr(f, "__closure__", None):
        return None
    cells = [cell.cell_contents for cell in f.__closure__]
    return (f.__code__, *(tuple(x.items()) if isinstance(x, dict) else x for x in cells))


def extended_axes(sizes: Mapping[Any, int], spmd_name: Any = None) -> Any:
    """A context manager: these axis names are bound while something is traced."""
    if not sizes and spmd_name is None:
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    stack.enter_context(core.extend_axis_env_nd(list(sizes.items())))
    if spmd_name is not None:
        names = spmd_name if isinstance(spmd_name, tuple) else (spmd_name,)
        stack.enter_context(core.add_spmd_axis_names(names))
    return stack


def axis_sizes() -> dict[Any, int]:
    """The axis names that are bound now, with their sizes."""
    return dict(core.get_axis_env().axis_sizes)


def is_axis_bound(name: Any) -> bool:
    return bool(core.get_axis_env().axis_exists(name))


# --- source locations


def raw_frames(traceback: Any) -> tuple[list[Any], list[int]]:
    """Code objects and instruction offsets of the frames of a traceback, innermost first."""
    frames: tuple[list[Any], list[int]] = traceback.raw_frames()
    return frames


def source_in_force() -> Any:
    """Of what is recorded now: its name stack; the traceback, if JAX is transforming something."""
    return source_info_util._source_info_context.context


def is_library_file(file: str) -> bool:
    """Whether JAX holds a source file to be no user's: its own, Python's, registered ones."""
    return not source_info_util.is_user_filename(file)


def exclude_from_tracebacks(directory: str) -> None:
    """Leave the files of a directory out of the tracebacks that JAX shows and records."""
    source_info_util.register_exclusion(directory)
    traceback_util.register_exclusion(directory)


def is_for_export(ctx: Any) -> bool:
    """Whether a lowering rule's context is that of a program which is to be saved."""
    return bool(ctx.module_context.lowering_parameters.for_export)
