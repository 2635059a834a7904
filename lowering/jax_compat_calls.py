"""The private names of JAX behind calls of what is compiled: its C++ dispatch, its caches (see
jax_compat)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax

# trace_context: the part of the configuration (x64, default device, ...) that a compiled signature
# depends on. trace_state_clean: whether some transformation is being traced now, when nothing may
# be cached. physical_sharding is a key array's, in its base words. dispatch_registry: the pytree
# registry of the C++ dispatch, in which a key array is a container of words. mesh: which one is
# set, with its devices. util: where caches are registered.
from jax._src import config, core, mesh, sharding_impls, tree_util, util

# shard_args places arguments.
from jax._src.interpreters import pxla

# ArrayImpl is what C++ can return.
from jaxlib import xla_client

from .jax_compat import cpp, is_key, settings


def place_constants(loaded: Any, constants: Sequence[Any]) -> list[Any]:
    """Put leading constants where the executable wants them, once, so that no call pays for it
    again.
    """
    if not constants:
        return []
    place = getattr(loaded, "shard_const_args", None)
    if place is not None:
        return list(place(list(constants)))
    shardings = loaded._in_shardings[: len(constants)]  # jax 0.10.0
    return list(jax.device_put(list(constants), list(shardings)))


def fastpath_data(
    loaded: Any, constants: Sequence[Any], kept: Sequence[bool], outputs: Any
) -> Any | None:
    """What C++ needs to run the next call by itself, or None if this one must stay in Python.

    It stays in Python when it has effects, when an output is no plain array, or when this JAX keeps
    the data under names unknown to us. `kept` says which arguments the executable takes; `outputs`
    are those of a call: C++ learns their tree and types.
    """
    try:
        run = loaded.unsafe_call
        if run.ordered_effects or run.has_unordered_effects or settings.jax_no_execution:
            return None
        flat, tree = tree_util.dispatch_registry.flatten(outputs, None)
        if not all(type(x) is xla_client.ArrayImpl for x in flat):
            return None
        return pxla.MeshExecutableFastpathData(
            xla_executable=loaded.xla_executable,
            out_pytree_def=tree,
            in_shardings=_base_shardings(loaded.in_avals, loaded._in_shardings),
            out_shardings=_base_shardings(loaded.out_avals, loaded._out_shardings),
            out_avals=[x.aval for x in flat],
            out_committed=[x.committed for x in flat],
            kept_var_bitvec=[True] * len(constants) + list(kept),
            in_device_local_layouts=loaded._dispatch_in_layouts,
            const_args=constants,
        )
    except (AttributeError, TypeError):
        return None


def _base_shardings(avals: Sequence[Any], shardings: Sequence[Any]) -> list[Any]:
    return [
        sharding_impls.physical_sharding(a, s) if is_key(a) else s
        for a, s in zip(avals, shardings, strict=True)
    ]


@functools.cache
def _signature_cache() -> Any:
    """Our own C++ cache: in JAX's, our compiled functions and jax.jit's of the same Python function
    would mix.
    """
    return cpp.PjitFunctionCache(capacity=8192)


def cpp_function(
    name: str,
    fun: Any,
    miss: Callable[..., Any],
    static: tuple[Sequence[int], Sequence[str]],
    key: Hashable,
) -> Any | None:
    """A callable whose known signatures are looked up and executed in C++, as jax.jit's are; None
    if this JAX has none.

    `miss(*args, **kwargs)` is called for each new signature and returns the outputs, the fastpath
    data or None, and False. Equal `fun` and `key` share compiled signatures.
    """
    try:
        return cpp.pjit(
            name, fun, miss, list(static[0]), list(static[1]), key,
            tree_util.dispatch_registry, pxla.cc_shard_arg, _signature_cache(),
        )  # fmt: skip
    except (AttributeError, TypeError):
        return None


_clearing: list[Any] = []
"""JAX knows caches by weak references: these are held here."""


def on_clear_caches(clear: Callable[[], Any]) -> None:
    """Have something cleared by jax.clear_caches, too."""

    class Cache:
        def cache_clear(self) -> None:
            clear()

        def cache_info(self) -> None:
            """JAX may ask; what is cached here has no statistics."""

        def cache_keys(self) -> list[Any]:
            return []

    _clearing.append(Cache())
    util.register_cache(_clearing[-1], "covector")


def is_trace_clean() -> bool:
    return bool(core.trace_state_clean())


def configuration() -> Hashable:
    """What of JAX's configuration a compiled signature depends on, as jax.jit has it in its own,
    with the devices of the mesh that is set."""
    return (*config.trace_context(), mesh.get_concrete_mesh())
