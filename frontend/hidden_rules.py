"""Operations that JAX expands to others, with derivative rules that the expansion would lose.

Such are the custom_vjp functions that JAX makes under its setting `jax_custom_vjp3`, other people's
operations of that kind, and, from JAX 0.12 on, roots (`jax.lax.custom_root`). They are recorded as
functions with ordinary rules, see `told`; all others as what they expand to.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import linear_call

from ..ir.primitive import PRIMITIVES
from .hidden_roots import as_custom_jvp, is_derivative, is_root
from .jax_compat import CotangentSum, NoCotangent, Primitive, typeof
from .jax_compat_rules import (
    CotangentZero,
    SymbolicZero,
    call_ordinary_custom_vjp,
    given_name,
    ordinary_checkpoint,
    ordinary_name,
)
from .jax_primitives import is_of_jax

Params = Mapping[str, Any]


def may_expand(primitive: Any) -> bool:
    """Whether an operation of this kind may be one that JAX expands to others before it runs."""
    own = getattr(primitive.to_lojax, "__func__", primitive.to_lojax)
    return own is not Primitive.to_lojax


def expands(primitive: Any, operands: Any, params: Params) -> bool:
    """Whether JAX expands this operation to others before it runs."""
    return bool(primitive.is_high(*map(typeof, operands), **params))


def has_hidden_rules(equations: Iterable[Any]) -> bool:
    """Whether there is one among the equations of a jaxpr whose expansion would lose a rule."""
    for eqn in equations:
        if eqn.params and not _is_plain(eqn.primitive) and has_hidden_rule(eqn.params):
            return True
    return False


_PLAIN: Final[dict[Any, bool]] = {}
_PLAIN_FAMILIES: Final = ("contraction", "elementwise", "reduction", "shape")


def _is_plain(primitive: Any) -> bool:
    """Whether an operation of JAX's has no jaxprs among its parameters, as most have not."""
    found = _PLAIN.get(primitive)
    if found is None:
        ours = PRIMITIVES.get(primitive.name)
        is_known = ours is not None and ours.family in _PLAIN_FAMILIES and not ours.has_regions
        found = _PLAIN[primitive] = is_known and is_of_jax(primitive)
    return found


def has_hidden_rule(params: Params) -> bool:
    """Whether the expansion of an operation would lose a rule: its own, or one in a jaxpr in it."""
    called = params.get("_prim")
    return holds_hidden_rule(params) or (called is not None and told(called) is not None)


def holds_hidden_rule(params: Params) -> bool:
    """Whether there is one in the jaxprs that an operation holds."""
    return any(map(_holds, jaxprs_in(params)))


_HOLDING: Final[weakref.WeakKeyDictionary[Any, bool]] = weakref.WeakKeyDictionary()
"""Of the jaxprs that were looked through, whether there is one: each is once, however often it is
called."""


def _holds(jaxpr: Any) -> bool:
    found = _HOLDING.get(jaxpr)
    if found is None:
        found = _HOLDING[jaxpr] = has_hidden_rules(jaxpr.eqns)
    return found


def jaxprs_in(params: Params) -> Iterator[Any]:
    """The jaxprs, closed or open, among an operation's parameters."""
    for value in params.values():
        for x in value if isinstance(value, tuple) else (value,):
            if hasattr(x, "eqns"):
                yield x


def jaxprs_of(name: str, params: Params) -> Iterable[Any]:
    """`jaxprs_in` the parameters of JAX's operation of that name; at once for jitted functions,
    which most of what jax.numpy does are."""
    return (params["jaxpr"],) if name == "jit" else jaxprs_in(params)


def told(called: Any) -> Callable[..., Any] | None:
    """What an operation does, as a function that has its rule; None for one without a rule."""
    if hasattr(called, "prim") and hasattr(called, "in_dims"):  # a batch of calls
        one = told(called.prim)
        return None if one is None else _batch_of(called, one)
    if hasattr(called, "policy") and hasattr(called, "jaxpr"):  # jax.checkpoint under jax_remat3
        saving: Callable[..., Any] = ordinary_checkpoint(called.expand, called.policy)
        return saving
    name = given_name(called)
    if name is not None:
        return functools.partial(ordinary_name, name=name)
    if is_root(called):
        root: Callable[..., Any] = as_custom_jvp(called)
        return root
    if is_derivative(called):
        return None
    if _has_forward_rule(called):
        return _as_custom_jvp(called)
    return _as_custom_vjp(called) if _has_reverse_rule(called) else None


def flat_told(called: Any) -> Callable[..., list[Any]] | None:
    """The same function of flat operands, or None."""
    function = told(called)
    if function is None:
        return None

    def flat(*operands: Any) -> list[Any]:
        return jax.tree.leaves(function(*jax.tree.unflatten(called.in_tree, operands)))

    return flat


def _batch_of(called: Any, one: Callable[..., Any]) -> Callable[..., Any]:
    axis = called.axis_data
    return jax.vmap(
        one, called.in_dims, called.out_dim, axis_name=axis.name, axis_size=axis.size,
        spmd_axis_name=axis.spmd_name,
    )  # fmt: skip


def _as_custom_vjp(called: Any) -> Callable[..., Any]:
    n_closed = 2 if hasattr(called, "drop_fwd_consts") else 0  # JAX 0.12 passes closures as such
    # other people's operations are told which operands move, and get the zeros of JAX's transpose
    symbolic_zeros = bool(getattr(called, "symbolic_zeros", True))

    def function(*args: Any) -> Any:
        closed, own = args[:n_closed], args[n_closed:]
        leaves, tree = jax.tree.flatten(own)
        n = len(leaves)  # the functions below close over no arguments: those would be constants

        def whole(flat: Any) -> tuple[Any, ...]:
            return (*closed, *jax.tree.unflatten(tree, flat))

        def fwd(*flat: Any) -> tuple[Any, Any]:
            moves = [x.perturbed if symbolic_zeros else True for x in flat]
            values = [x.value if symbolic_zeros else x for x in flat]
            still = jax.tree.map(lambda _: False, closed)
            out, residuals, *_ = called.vjp_fwd(
                (*still, *jax.tree.unflatten(tree, moves)), *whole(values)
            )
            return out, (residuals, moves)

        def bwd(kept: Any, ct: Any) -> tuple[Any, ...]:
            residuals, moves = kept
            ct = jax.tree.map(_as_given, ct, is_leaf=_is_symbolic)
            cts = _collect_cotangents(called, residuals, ct, moves)
            return tuple(cts[len(cts) - n :])

        f = _named(lambda *flat: called.expand(*whole(flat)), called)
        return call_ordinary_custom_vjp(f, fwd, bwd, leaves, symbolic_zeros)

    return function


def _named(function: Any, called: Any) -> Any:
    name = getattr(getattr(called, "traced", None), "fun_name", type(called).__name__)
    function.__name__ = str(name)
    return function


def _has_reverse_rule(called: Any) -> bool:
    """Whether an operation that JAX expands to others has a rule for reverse mode."""
    plain = _plain(called)
    return _is_custom_vjp(called) or (
        plain is not None and type(called).vjp_fwd is not plain.vjp_fwd
    )


def _has_forward_rule(called: Any) -> bool:
    """Whether it has one for forward mode."""
    plain = _plain(called)
    return plain is not None and not _is_custom_vjp(called) and type(called).jvp is not plain.jvp


def _is_custom_vjp(called: Any) -> bool:
    return _plain(called) is not None and hasattr(called, "fwd") and hasattr(called, "bwd")


def _plain(called: Any) -> Any:
    """The class that such operations derive from, which has no rules; None for other operations."""
    names = ("HiPrim", "VJPHiPrimitive")
    plain = [cls for cls in type(called).__mro__ if cls.__name__ in names]
    return plain[-1] if plain else None


def _as_custom_jvp(called: Any) -> Callable[..., Any]:
    """An operation with a forward rule; the transpose of its derivative is its reverse rule, where
    it has one."""
    is_reversed = _has_reverse_rule(called)

    function = jax.custom_jvp(_named(lambda *args: called.expand(*args), called))

    @function.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        if not is_reversed:
            out, dys = called.jvp(primals, tangents)
            return out, jax.tree.map(_filled, dys, is_leaf=_is_zero)
        moves = [not _is_float0(t) for t in jax.tree.leaves(tangents)]
        tree = jax.tree.structure(primals)
        nonzero = jax.tree.unflatten(tree, moves)
        out, kept, *_ = called.vjp_fwd(nonzero, *primals)
        outputs, out_tree = jax.tree.flatten(out)
        lives = [jnp.issubdtype(jnp.result_type(y), jnp.inexact) for y in outputs]
        arrays, whole_kept = _arrays_of(kept)

        def filled(flat: Any) -> Any:
            """As the output nests, with float0 for its integers."""
            given = iter(flat)
            return jax.tree.unflatten(
                out_tree,
                [
                    next(given) if f else np.zeros(jnp.shape(y), jax.dtypes.float0)
                    for y, f in zip(outputs, lives, strict=True)
                ],
            )

        def push(residuals: Any, flat: Any) -> Any:
            moved = iter(flat)
            whole = [
                next(moved) if m else t
                for m, t in zip(moves, jax.tree.leaves(tangents), strict=True)
            ]
            dys = called.jvp(residuals[0], jax.tree.unflatten(tree, whole))[1]
            dys = jax.tree.leaves(dys, is_leaf=_is_zero)
            return [_filled(dy) for dy, f in zip(dys, lives, strict=True) if f]

        def pull(residuals: Any, flat: Any) -> Any:
            cts = _collect_cotangents(called, whole_kept(residuals[1]), filled(flat), moves)
            zeros = [jnp.zeros_like(x) for x in jax.tree.leaves(residuals[0])]
            return [z if c is None else c for c, z, m in zip(cts, zeros, moves, strict=True) if m]

        live = [t for t, m in zip(jax.tree.leaves(tangents), moves, strict=True) if m]
        if not any(lives):
            return out, filled(())
        return out, filled(linear_call(push, pull, (primals, arrays), live))

    return function


def _arrays_of(kept: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The arrays among residuals, and what puts others in their places: rules keep Python's numbers
    too (which operands move), and branch on them."""
    leaves, tree = jax.tree.flatten(kept)
    is_array = [isinstance(x, (jax.Array, np.ndarray)) for x in leaves]

    def whole(arrays: Sequence[Any]) -> Any:
        given = iter(arrays)
        filled = [next(given) if a else x for a, x in zip(is_array, leaves, strict=True)]
        return jax.tree.unflatten(tree, filled)

    return [x for x, a in zip(leaves, is_array, strict=True) if a], whole


def _is_float0(x: Any) -> bool:
    return bool(getattr(x, "dtype", None) == jax.dtypes.float0)


def _collect_cotangents(called: Any, residuals: Any, ct: Any, moves: list[bool]) -> list[Any]:
    """What the backward rule of such an operation adds up for its flat operands; None for zero, and
    for those of the last that do not move."""
    avals = [aval.to_ct_aval() for aval in called.in_avals_flat]
    asked = [True] * (len(avals) - len(moves)) + moves
    sums = [(CotangentSum if a else NoCotangent)(t) for a, t in zip(asked, avals, strict=True)]
    called.vjp_bwd(residuals, ct, *jax.tree.unflatten(called.in_tree, sums))
    found = [x.freeze() if a else None for a, x in zip(asked, sums, strict=True)]
    return [None if _is_zero(x) else x for x in found]


def _is_zero(x: Any) -> bool:
    return isinstance(x, CotangentZero)


def _filled(dy: Any) -> Any:
    """A tangent that a rule returned, as an array; what says that it is zero is none."""
    return np.zeros(dy.aval.shape, dy.aval.dtype) if _is_zero(dy) else dy


def _is_symbolic(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


def _as_given(x: Any) -> Any:
    return CotangentZero(x.aval) if _is_symbolic(x) else x
