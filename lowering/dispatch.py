"""From a Python call to an executable: known signatures in C++, as jax.jit has them, new ones
through one callback.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import jax

from . import jax_compat, jax_compat_calls
from .call_spec import Call, CallSpec, Names, Numbers
from .execute import Executable


class Around(Protocol):
    """What a call does beside running its program."""

    def before(self, leaves: Sequence[Any]) -> Sequence[Any]: ...

    def after(self, leaves: Sequence[Any], outputs: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Plan:
    """How to run every call of one signature: `executable(*constants, *leaves)`, its outputs in
    `out_tree`. `kept` says which of the leaves the program reads, if not all. `explain`, given the
    leaves read and a FloatingPointError, says which operation made the value that
    jax_debug_nans forbids.

    around: what is done in Python before each call, leaves -> operands, and after it, (leaves,
      outputs) -> result. Without it, C++ makes the call.
    places: where the leaves that the program reads are moved first, None for those that stay.
    """

    executable: Executable
    out_tree: Any
    constants: Sequence[Any] = ()
    kept: Sequence[bool] | None = None
    explain: Callable[[Sequence[Any], FloatingPointError], FloatingPointError] | None = None
    around: Around | None = None
    places: Sequence[Any] = ()

    def result(self, leaves: Sequence[Any]) -> Any:
        """What a call returns."""
        if self.around is None:
            return jax.tree.unflatten(self.out_tree, self.run(leaves))
        return self.around.after(leaves, self.run(self.around.before(leaves)))

    def taken(self, leaves: Sequence[Any]) -> Sequence[Any]:
        """The leaves that the executable takes, where it takes them."""
        if self.kept is not None:
            leaves = [x for x, is_kept in zip(leaves, self.kept, strict=True) if is_kept]
        if not any(self.places):
            return leaves
        pairs = zip(leaves, self.places, strict=True)
        return [x if place is None else jax.device_put(x, place) for x, place in pairs]

    def run(self, leaves: Sequence[Any]) -> list[Any]:
        """The flat outputs. Raises FloatingPointError for values that are not to be (see
        jax_debug_nans)."""
        taken = self.taken(leaves)
        try:
            return self.executable.call(*self.constants, *taken)
        except FloatingPointError as error:
            if self.explain is None:
                raise
            found = self.explain(taken, error)
        raise found


@dataclass(frozen=True)
class Done:
    """A call that was answered itself, traced or run some other way: nothing to remember."""

    value: Any


CacheMiss = Callable[[Call], Plan | Done]


def make_dispatcher(
    fun: Callable[..., Any] | None,
    cache_miss: CacheMiss,
    *,
    static_argnums: Numbers = None,
    static_argnames: Names = None,
    donate_argnums: Numbers = None,
    donate_argnames: Names = None,
    name: str | None = None,
    key: Hashable | None = None,
) -> Callable[..., Any]:
    """A callable like `jax.jit(fun)` that asks `cache_miss(call)` once per signature.

    A signature is the trees, types, weak types and committed placements of the traced arguments,
    the static arguments, and JAX's configuration. While something is being traced, nothing is
    remembered and every call is asked about. The executable's inputs are the plan's constants, then
    the call's leaves. If a leaf is a tracer, the answer must be `Done`. Dispatchers of equal `fun`
    and `key` share what they know; without a key, nothing is shared.

    Where JAX has no C++ dispatch that we know, signatures are looked up in Python: slower, never
    different.
    """
    spec = CallSpec.resolve(fun, static_argnums, static_argnames, donate_argnums, donate_argnames)
    label = str(name or _name_of(fun))
    lookup = _Lookup(cache_miss, spec)
    static = (spec.static_argnums, spec.static_argnames)
    shared = (spec, key) if key is not None else object()
    unjitted = lookup.outputs if fun is None else fun  # what runs under jax.disable_jit
    answer = jax_compat.boundary(lookup.answer)
    function = jax_compat_calls.cpp_function(label, unjitted, answer, static, shared)
    if function is None:
        function = _python_function(fun, lookup)
    return _finish(function, fun, label, lookup)


def _name_of(fun: Any) -> str:
    """What JAX calls a function: partial ones as what they call."""
    while isinstance(fun, functools.partial) and not hasattr(fun, "__name__"):
        fun = fun.func
    return getattr(fun, "__name__", "compiled")


def _python_function(fun: Callable[..., Any] | None, lookup: _Lookup) -> Callable[..., Any]:
    """The fallback for an unknown JAX: the signature cache in Python, nothing in C++."""

    @jax_compat.boundary
    def call(*args: Any, **kwargs: Any) -> Any:
        if fun is not None and jax_compat.settings.jax_disable_jit:
            return fun(*args, **kwargs)
        return lookup.outputs(*args, **kwargs)

    return call


class _Attributes(dict[str, Any]):
    """The attributes of a compiled function, of which `functools.update_wrapper` does not see what
    is true of this function alone: a wrapper of it, jax.jit's among them, is not to take it over.
    """

    _OWN = ("clear_cache", "eval_shape", "lower", "trace")

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in super().__iter__() if name not in self._OWN])

    def keys(self) -> Any:
        return list(self)


def _finish(
    function: Any, fun: Callable[..., Any] | None, label: str, lookup: _Lookup
) -> Callable[..., Any]:
    """Dress it as the user's function; instance attributes hide what JAX has put on the C++ class
    for itself.
    """
    known = weakref.ref(function)  # a bound method of it would be a cycle that nobody can collect
    if fun is not None:
        functools.update_wrapper(function, fun)
        function._fun = fun  # where JAX's debug_nans finds the function to run again, op by op
    else:
        function.__name__ = function.__qualname__ = label

    def clear_cache() -> None:
        lookup.plans.clear()
        found: Any = known()
        if hasattr(found, "_clear_cache"):
            found._clear_cache()

    function.__dict__ = _Attributes(function.__dict__)
    function.clear_cache = clear_cache
    return function  # type: ignore[no-any-return]


_lookups: Final[weakref.WeakSet[_Lookup]] = weakref.WeakSet()


def _forget_plans() -> None:
    for lookup in list(_lookups):
        lookup.plans.clear()


jax_compat_calls.on_clear_caches(_forget_plans)


@dataclass(eq=False)
class _Lookup:
    """What C++ calls when it does not know a signature: it may still be known here.

    That happens where C++ must not run it alone (effects, extended outputs) or has evicted it.
    """

    cache_miss: CacheMiss
    spec: CallSpec
    plans: dict[Hashable, Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _lookups.add(self)

    def outputs(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer(*args, **kwargs)[0]

    def answer(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, bool]:
        """Outputs, data for the C++ fast path or None, and whether C++ must forget an earlier
        entry: never.
        """
        call = self.spec.split(args, kwargs)
        signature = _signature(call)
        plan = self.plans.get(signature) if signature is not None else None
        if plan is None:
            found = self.cache_miss(call)
            if isinstance(found, Done):
                return found.value, None, False
            plan = replace(found, constants=_placed(found))
            if signature is not None:
                self.plans[signature] = plan
        outputs = plan.result(call.leaves)
        if signature is None or plan.around is not None:
            return outputs, None, False
        return outputs, _fastpath(plan, call, outputs), False


def _placed(plan: Plan) -> list[Any]:
    return jax_compat_calls.place_constants(plan.executable.loaded, plan.constants)


def _fastpath(plan: Plan, call: Call, outputs: Any) -> Any | None:
    kept = plan.kept if plan.kept is not None else [True] * len(call.leaves)
    return jax_compat_calls.fastpath_data(plan.executable.loaded, plan.constants, kept, outputs)


def _signature(call: Call) -> Hashable | None:
    """What a plan depends on; None where nothing may be remembered: under a trace, or for what is
    no array.
    """
    if not jax_compat_calls.is_trace_clean():
        return None
    try:
        leaves = tuple(map(_leaf_signature, call.leaves))
    except TypeError:
        return None
    static = tuple((place, type(value), value) for place, value in call.static)
    return call.tree, leaves, static, jax_compat_calls.configuration()


def _leaf_signature(leaf: Any) -> Hashable:
    if isinstance(leaf, jax.core.Tracer):
        raise TypeError("a tracer stands for values that are not there yet")
    is_committed = getattr(leaf, "committed", False)
    return (
        jax.typeof(leaf),
        leaf.sharding if is_committed else None,
        jax_compat.unusual_layout(leaf),
    )
