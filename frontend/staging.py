"""From a Python function and its arguments to a program: flatten, trace, remember the trees."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, Final, TypeVar

import jax
import numpy as np

from ..ir.errors import ArgumentError, UsageError
from ..ir.types import TensorType
from ..lowering.call_spec import Call
from ..lowering.jax_compat import boundary, settings
from .aux_outputs import flatten_aux
from .avals import check_no_strings, type_of
from .cells import is_ref
from .jax_compat import Tracer
from .known import KnownValues
from .moving import moving_leaves
from .no_numbers import FLOAT0, flatten_numbers, is_float0
from .ref_args import (
    StandIn,
    check_no_aliases,
    is_ref_like,
)
from .staged import Staged
from .trace import recording_trace, trace_flat

Function = TypeVar("Function", bound=Callable[..., Any])


_ANY = "a transformation"


def stage(
    fun: Callable[..., Any],
    leaves: Sequence[Any],
    in_tree: Any,
    *,
    types: Sequence[TensorType] | None = None,
    has_aux: bool = False,
    names: Sequence[str] | None = None,
    known: Sequence[Any] | None = None,
    held: Mapping[int, Any] | None = None,
    active: Sequence[bool] | None = None,
    as_given: Sequence[bool] = (),
    takes_refs: bool = False,
    carries: bool = False,
    moves: Sequence[bool] | None = None,
    caller: str = _ANY,
) -> Staged:
    """Trace `fun(*args, **kwargs)`, with `(args, kwargs)` nested as `in_tree`.

    `types` are those of the leaves, if they are not the leaves' own (a batch axis taken off).
    `known` are the leaves' values (None where there is none), if Python may branch on them.
    `active` says by which leaves there is to be a derivative, if not by all.
    `held` are further leaves, by their position in `in_tree`: no arrays, passed to fun as they are.
    `as_given` marks leaves that fun is to get as the caller has them, unless they are traced:
    Python can look into numbers and arrays, hash and compute with them, ask where they are.
    With `has_aux`, fun returns a pair (output, auxiliary output).
    `takes_refs` says that the caller reads and writes mutable arrays, see `Staged.operands` and
    `Staged.settle`; UsageError is raised for them otherwise. `carries` says that it also has them
    written by backward rules, see `Staged.carried`. `moves` says by which leaves the derivative is
    taken that it is traced for, if it is for one.
    """
    trees: list[Any] = []

    in_types = types if types is not None else types_of(fun, leaves, in_tree, names)
    as_they_are = {
        i: np.zeros(in_types[i].shape, FLOAT0) for i, x in enumerate(leaves) if is_float0(x)
    } | _own_objects(leaves, as_given)

    def flat_fun(*tracers: Any) -> list[Any]:
        for i, x in as_they_are.items():
            tracers[i]._trace.note_array(x, tracers[i].atom)
        given = [as_they_are.get(i, x) for i, x in enumerate(tracers)]
        args, kwargs = jax.tree.unflatten(in_tree, with_held(given, held))
        out = fun(*args, **kwargs)
        aux: list[Any] = []
        if has_aux:
            out, aux_out = split_aux(fun, out)
            aux, aux_tree = flatten_aux(aux_out)
        flat, out_tree = flatten_numbers(out)
        trees[:] = [out_tree, aux_tree if has_aux else None]
        return flat + aux

    values = None if known is None else KnownValues.of_leaves(known)
    in_names = names if names is not None else leaf_names(fun, in_tree, held)
    refs = {i: x if is_ref(x) else StandIn(i) for i, x in enumerate(leaves) if is_ref_like(x)}
    if refs:
        check_no_aliases(function_name(fun), leaves, in_names, ())
    recording = trace_flat(
        flat_fun,
        in_types,
        name=function_name(fun),
        input_names=in_names,
        outer=recording_trace(),
        known=values,
        still=_still(leaves, active),
        refs=refs,
        caller=caller,
        carries=carries,
        moving=moving_leaves(leaves, moves) if known is not None else None,
    )
    staged = Staged(
        recording.graph, recording.captured, trees[0], trees[1], values, recording.written
    )
    if refs or staged.has_refs:
        cells = recording.trace.cells if recording.trace is not None else {}
        both = [x for x in refs.values() if cells[id(x)].is_closed_over]
        _check_refs(fun, staged, leaves, in_names, takes_refs, both if caller != _ANY else ())
    return staged


def _own_objects(leaves: Sequence[Any], as_given: Sequence[bool]) -> dict[int, Any]:
    """By position, the leaves that a function gets as the caller has them."""
    return {
        i: x
        for i, (x, is_wanted) in enumerate(zip(leaves, as_given, strict=False))
        if is_wanted and not isinstance(x, Tracer) and not is_ref_like(x)
    }


def _check_refs(
    fun: Any,
    staged: Staged,
    leaves: Sequence[Any],
    names: Sequence[str],
    takes_refs: bool,
    both: Sequence[Any],
) -> None:
    """Raise UsageError for mutable arrays with two names, or where the caller knows of none."""
    name = function_name(fun)
    check_no_aliases(name, leaves, names, both)
    if not takes_refs:
        raise UsageError(
            f"{name} reads or writes a mutable array that lives outside of it, which this "
            "transformation cannot do",
            hint="make the array inside of the function, or pass and return what it holds",
        )


def _still(leaves: Sequence[Any], active: Sequence[bool] | None) -> list[bool]:
    """Which leaves nobody can differentiate by: not here, nor in an enclosing trace.

    Under jax_custom_vjp3 JAX refuses functions that close over any traced value: all are hoisted.
    """
    if active is None or settings.jax_custom_vjp3:
        return []
    return [not a and not isinstance(x, Tracer) for x, a in zip(leaves, active, strict=True)]


def types_of(
    fun: Callable[..., Any],
    leaves: Sequence[Any],
    in_tree: Any,
    names: Sequence[str] | None = None,
) -> list[TensorType]:
    """The types of the leaves of `(args, kwargs)`. Raises ArgumentError for one that has none."""
    try:
        return [check_no_strings(type_of(x)) for x in leaves]
    except TypeError as error:
        claim = str(error).rstrip(".")
    for name, x in zip(names or leaf_names(fun, in_tree), leaves, strict=True):
        try:
            check_no_strings(type_of(x))
        except TypeError:
            claim += f": it is the argument {name} of {function_name(fun)}"
            break
    raise ArgumentError(claim)


def divide(
    leaves: Sequence[Any], is_traced: Sequence[bool]
) -> tuple[list[Any], list[TensorType], dict[int, Any]]:
    """Arrays and their types, and by position the leaves that are none: functions, strings.

    Raises TypeError for a leaf that is no array where `is_traced` says that it must be one.
    """
    arrays, types, held = [], [], {}
    for i, (x, must) in enumerate(zip(leaves, is_traced, strict=True)):
        try:
            types.append(type_of(x))
        except (TypeError, ValueError):  # the second for what has an array in it, but is none
            if must:
                raise
            held[i] = x
        else:
            arrays.append(x)
    return arrays, types, held


def with_held(leaves: Sequence[Any], held: Mapping[int, Any] | None) -> Sequence[Any]:
    """All leaves in order, from the arrays and the others: the inverse of `divide`."""
    if not held:
        return leaves
    whole = list(leaves)
    for i in sorted(held):
        whole.insert(i, held[i])
    return whole


def stage_call(
    fun: Callable[..., Any], call: Call, *, takes_refs: bool = False, carries: bool = False
) -> Staged:
    """Trace fun for one call; its static arguments are part of the function."""

    def traced(*args: Any, **kwargs: Any) -> Any:
        whole_args, whole_kwargs = call.rebuild(jax.tree.leaves((args, kwargs)))
        return fun(*whole_args, **whole_kwargs)

    traced.__name__ = function_name(fun)
    names = call_names(fun, call)
    how: dict[str, Any] = {"takes_refs": takes_refs, "carries": carries, "caller": "jit"}
    return stage(traced, call.leaves, call.tree, names=names, **how)


def call_names(fun: Callable[..., Any], call: Call) -> list[str]:
    """Names of the traced leaves: those of all arguments, less the static ones."""
    if not call.static:
        return leaf_names(fun, call.tree)
    static = dict(call.static)
    args, kwargs = call.rebuild(range(len(call.leaves)))
    args = tuple(None if i in static else x for i, x in enumerate(args))
    kwargs = {k: None if k in static else x for k, x in kwargs.items()}
    return leaf_names(fun, jax.tree.structure((args, kwargs)))


def names_of_leaves(staged: Staged) -> list[str]:
    """What the function calls the traced leaves of a call, as they were traced."""
    inputs = staged.graph.inputs[staged.n_captured :]
    return [v.name or f"argument {i}" for i, v in enumerate(inputs)]


def split_aux(fun: Callable[..., Any], out: Any) -> tuple[Any, Any]:
    """The pair that a function with auxiliary output returns. Raises ArgumentError."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise ArgumentError(
            f"with has_aux=True, {function_name(fun)} must return a two-element tuple, (output, "
            f"auxiliary output); it returned {type(out).__name__}"
            + (f" of length {len(out)}" if isinstance(out, (tuple, list)) else "")
        )
    return out[0], out[1]


def split_outputs(staged: Staged, flat: Sequence[Any]) -> tuple[Any, Any]:
    """The output and the auxiliary output, nested as the function returned them."""
    out = jax.tree.unflatten(staged.out_tree, flat[: staged.n_out])
    if staged.aux_tree is None:
        return out, None
    return out, staged.aux_tree.nest(flat[staged.n_out : staged.n_results])


def function_name(fun: Callable[..., Any]) -> str:
    """What to call a function in programs and messages."""
    name = getattr(fun, "__name__", None)
    if name is None and hasattr(fun, "func"):  # functools.partial
        return function_name(fun.func)
    return (name or type(fun).__name__).strip("<>")


def leaf_names(
    fun: Callable[..., Any], in_tree: Any, held: Mapping[int, Any] | None = None
) -> list[str]:
    """A name for each leaf of `(args, kwargs)`: the parameter's, then the path: `params.w[0]`.

    Leaves in `held` get none.
    """
    names = _names(positional_names(fun), in_tree)
    return [name for i, name in enumerate(names) if not held or i not in held]


def positional_names(fun: Callable[..., Any]) -> tuple[str, ...]:
    """What a function calls its positional parameters; nothing where it does not tell."""
    inner, bound = fun, 0
    for _ in range(_MOST_WRAPPED):
        if isinstance(inner, type) or "__signature__" in getattr(inner, "__dict__", ()):
            break
        if hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif isinstance(inner, FunctionType):
            return inner.__code__.co_varnames[bound : inner.__code__.co_argcount]
        elif isinstance(called := type(inner).__call__, FunctionType):
            inner, bound = called, bound + 1
        else:
            break
    try:
        found = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple([p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)])


_MOST_WRAPPED: Final = 20
"""Functions in each other that are looked through; what has more is asked for its signature."""


@functools.lru_cache(maxsize=1024)
def _names(parameters: tuple[str, ...], in_tree: Any) -> tuple[str, ...]:
    try:
        skeleton = jax.tree.unflatten(in_tree, range(in_tree.num_leaves))
    except Exception:  # a user's class need not take numbers for its parts
        return _numbered_names(parameters, in_tree)
    names = []
    for path, _ in jax.tree_util.tree_flatten_with_path(skeleton)[0]:
        in_kwargs, first, *rest = (*path, None) if len(path) < 2 else path
        position = getattr(first, "idx", None)
        if in_kwargs.idx == 0 and position is not None:
            root = parameters[position] if position < len(parameters) else f"arg{position}"
        else:
            root = str(getattr(first, "key", "kwargs"))
        names.append(root + "".join(_step(key) for key in rest if key is not None))
    return tuple(names)


def _numbered_names(parameters: tuple[str, ...], in_tree: Any) -> tuple[str, ...]:
    """As `_names`, with numbers for all that is inside of an argument."""
    args, kwargs = in_tree.children()
    roots = [*parameters[: len(args.children())]]
    roots += [f"arg{i}" for i in range(len(roots), len(args.children()))]
    roots += kwargs.node_data()[1]
    names: list[str] = []
    for root, tree in zip(roots, (*args.children(), *kwargs.children()), strict=True):
        n = tree.num_leaves
        names += [root] if n == 1 else [f"{root}[{i}]" for i in range(n)]
    return tuple(names)


def _step(key: Any) -> str:
    if hasattr(key, "name"):
        return f".{key.name}"
    inner = getattr(key, "key", None)
    if isinstance(inner, str) and inner.isidentifier():
        return f".{inner}"
    return f"[{getattr(key, 'idx', inner)!r}]"


_OF_COMPILED = ("clear_cache", "eval_shape", "lower", "trace")


def dress_as(wrapper: Any, fun: Any) -> None:
    """`functools.update_wrapper`, without what a compiled function says of itself alone."""
    functools.update_wrapper(wrapper, fun)
    for name in _OF_COMPILED:
        vars(wrapper).pop(name, None)


def wraps(fun: Callable[..., Any], what: str) -> Callable[[Function], Function]:
    """Dress a transformed function with the name and documentation of the function, and leave our
    frames out of the tracebacks of its errors."""

    def dress(inner: Function) -> Function:
        wrapper = boundary(inner)
        if hasattr(fun, "__name__"):
            dress_as(wrapper, fun)
        said = getattr(fun, "__doc__", None)
        head = f"{what} of {function_name(fun)}."
        wrapper.__doc__ = f"{head}\n\nOriginal documentation:\n\n{said}" if said else head
        return wrapper

    return dress
