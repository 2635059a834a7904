"""The private names of JAX behind custom derivative rules, checkpoints, and what a shard_map notes
in types (see jax_compat)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from inspect import getclosurevars
from typing import Any

import jax

# custom_jvp_call_p, custom_vjp_call_p: the primitives behind jax.custom_jvp and jax.custom_vjp.
# SymbolicZero stands for an absent tangent in rules defined with symbolic_zeros=True; Zero for an
# absent cotangent in what flattened backward rules return.
# ad_checkpoint: what gives a value its name.
# Unhashable, in util: what a fixed argument of a custom function is wrapped in.
from jax._src import ad_checkpoint, ad_util, config, core, custom_derivatives, util

# mesh: its module knows the mesh that is set.
from jax._src import mesh as mesh_lib

# Recompute: a checkpoint policy's long form of False.
from jax._src.interpreters import partial_eval

SymbolicZero: Any = ad_util.SymbolicZero
CotangentZero: Any = ad_util.Zero
Unhashable: Any = util.Unhashable


def jvp_rule_from_params(params: dict[str, Any]) -> tuple[Any, Any]:
    """The function and the rule of a custom_jvp_call equation, as JAX's flat functions."""
    return tuple(custom_derivatives.custom_jvp_call_p.get_bind_params(params)["subfuns"])


def rule_as_written(params: Mapping[str, Any]) -> Any | None:
    """The rule of a custom_jvp_call equation as the user's, a flat function, which the equation has
    only as what traces it to a jaxpr. None where that is not as it is known to be."""
    traced = closed_over(getattr(params.get("jvp_jaxpr_fun"), "f", None), "fn")
    return None if traced is None else closed_over(traced, "jvp")


def closed_over(function: Any, name: str) -> Any | None:
    """What a function calls so in its closure; None if nothing."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return function.__closure__[names.index(name)].cell_contents if name in names else None


def vjp_rule_from_params(params: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The function, forward and backward rule of a custom_vjp_call equation."""
    return tuple(custom_derivatives.custom_vjp_call_p.get_bind_params(params)["subfuns"])


def ordinary_checkpoint(fun: Any, policy: Any) -> Any:
    """jax.checkpoint in the form that we read, whatever is set."""

    def call(*args: Any) -> Any:
        with config.remat3(False):
            return jax.checkpoint(fun, policy=policy)(*args)

    return call


def given_name(called: Any) -> str | None:
    """The name that an operation of JAX's gives a value under jax_remat3."""
    kind = getattr(ad_checkpoint, "CheckpointName", ())
    return str(called.name) if isinstance(called, kind) else None


def ordinary_name(x: Any, name: str) -> Any:
    """jax.ad_checkpoint.checkpoint_name in the form that we read, whatever is set."""
    with config.remat3(False):
        return ad_checkpoint.checkpoint_name(x, name)


def call_ordinary_custom_vjp(
    fun: Any, fwd: Any, bwd: Any, operands: Any, symbolic_zeros: bool
) -> Any:
    """Call a jax.custom_vjp function in the form in which we read rules, whatever is set: jax 0.10
    reads the setting where such a function is made, 0.12 where it is called."""
    with config.custom_vjp3(False):
        f = jax.custom_vjp(fun)
        f.defvjp(fwd, bwd, symbolic_zeros=symbolic_zeros)
        return f(*operands)


def trace_context() -> Any:
    """JAX's options that tracing depends on."""
    return config.trace_context()


_TRACING_SETTINGS: tuple[Any, ...] = (
    config.enable_x64, config.default_matmul_precision, config.numpy_dtype_promotion,
    config.numpy_rank_promotion, config.threefry_partitionable, config.default_prng_impl,
    config._check_vma,
)  # fmt: skip


def tracing_settings() -> tuple[Any, ...]:
    """The values, in force now, of JAX's options that change what user code traces to."""
    return tuple([setting.value for setting in _TRACING_SETTINGS])


@contextlib.contextmanager
def under_settings(values: tuple[Any, ...]) -> Iterator[None]:
    """With these values in force, of `tracing_settings` at another time."""
    with contextlib.ExitStack() as stack:
        for setting, value in zip(_TRACING_SETTINGS, values, strict=True):
            if setting.value != value:
                stack.enter_context(setting(value))
        if notes_axes():  # JAX's checks of itself compare what types note, which ours do not
            stack.enter_context(config.enable_checks(False))
        yield


def noting_axes(noted: bool) -> contextlib.AbstractContextManager[None]:
    """While the program of one device is read: whether types note the axes that values vary along,
    as a shard_map is asked to check."""
    given: contextlib.AbstractContextManager[None] = config._check_vma(noted)
    return given


def set_mesh() -> Any:
    """The mesh of jax.set_mesh that is in force; an empty one outside of it."""
    return mesh_lib.get_concrete_mesh()


def notes_axes() -> bool:
    """Whether types say along which axes of a shard_map values differ between devices."""
    return bool(config._check_vma.value)


def varying_axes(x: Any) -> frozenset[Any]:
    """The axes of a shard_map along which a value differs between devices."""
    kind = getattr(jax.typeof(x), "mat", None)
    return frozenset() if kind is None else kind.varying


def declare_varying(x: Any, axes: frozenset[Any]) -> Any:
    """The value as one that differs between devices along these axes, too."""
    missing = axes - varying_axes(x)
    return core.pvary(x, tuple(sorted(missing))) if missing else x


@contextlib.contextmanager
def revived(traces: Iterable[Any]) -> Iterator[None]:
    """Let values be read whose traces are over."""
    over = [trace for trace in traces if not trace.is_valid()]
    for trace in over:
        trace._invalidated = False
    try:
        yield
    finally:
        for trace in over:
            trace.invalidate()


def is_recompute(answer: Any) -> bool:
    """Whether a checkpoint policy says so in the long form of its answers."""
    return answer is partial_eval.Recompute


def offload_memories(answer: Any) -> tuple[str, str] | None:
    """From which memory to which other one a checkpoint policy wants a value moved."""
    if not isinstance(answer, partial_eval.Offloadable):
        return None
    return str(answer.src), str(answer.dst)


def backward_cotangents(bwd: Any, arguments: Any) -> list[Any]:
    """The cotangents that a flat backward rule returns; later versions add what it logged.

    Inside of a shard_map JAX would compare the axes that they vary along, which our types do not
    note, with those of the arguments.
    """
    noted = config._check_vma.value
    with config.disable_bwd_checks(True) if noted else contextlib.nullcontext():
        results = bwd.call_wrapped(*arguments)
    has_log = type(results) is tuple and results and isinstance(results[0], (list, tuple))
    return list(results[0] if has_log else results)


def n_errors_before(fwd: Any) -> int:
    """How many inputs checkify has put before those that a forward rule counts from 0 where it says
    which of them are residuals. (JAX takes the wrong ones.)"""
    inner = fwd.f
    if getattr(inner, "__name__", None) != "checkified_fwd":
        return 0
    return int(getclosurevars(inner).nonlocals["num_errs"])


def instantiate_zero(aval: Any) -> Any:
    """A concrete zero for an absent tangent."""
    return ad_util.instantiate(ad_util.Zero(aval))
