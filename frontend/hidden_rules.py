"""Operations that JAX expands to others, and derivative rules that its expansion would lose.

JAX makes custom_vjp functions of another kind under its setting `jax_custom_vjp3`: operations whose
rules only JAX's own transformations read. They are refused, since a gradient without the rule would
be wrong silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..ir.errors import UsageError
from ..ir.graph import Location
from .jax_compat import Primitive, typeof

Params = Mapping[str, Any]


def may_expand(primitive: Any) -> bool:
    """Whether an operation of this kind may be one that JAX expands to others before it runs."""
    own = getattr(primitive.to_lojax, "__func__", primitive.to_lojax)
    return own is not Primitive.to_lojax


def expands(primitive: Any, operands: Any, params: Params) -> bool:
    """Whether JAX expands this operation to others before it runs."""
    return bool(primitive.is_high(*map(typeof, operands), **params))


def hidden_rule(primitive: Any, params: Params) -> str | None:
    """The name of a function whose custom_vjp rule JAX's expansion of an operation loses."""
    if primitive.name == "call_hi_primitive":
        called = params["_prim"]
        while hasattr(called, "prim"):  # a batch of calls
            called = called.prim
        if not hasattr(called, "fwd") or not hasattr(called, "bwd"):
            return None
        return str(getattr(called.traced, "fun_name", "of the program"))
    inner = (eqn for jaxpr in jaxprs_in(params) for eqn in jaxpr.eqns)
    found = (hidden_rule(eqn.primitive, eqn.params) for eqn in inner)
    return next((name for name in found if name is not None), None)


def jaxprs_in(params: Params) -> Iterator[Any]:
    """The jaxprs, closed or open, among an operation's parameters."""
    for value in params.values():
        for x in value if isinstance(value, tuple) else (value,):
            if hasattr(x, "eqns"):
                yield x


def refuse_hidden_rules(primitive: Any, params: Params, location: Location | None) -> None:
    """Raise UsageError for a function whose derivative rule would get lost: JAX keeps the rules of
    custom_vjp functions made under its setting `jax_custom_vjp3` in a form of its own."""
    name = hidden_rule(primitive, params)
    if name is not None:
        raise UsageError(
            f"the custom_vjp function {name} was made under JAX's setting jax_custom_vjp3, whose "
            "derivative rules covector cannot read",
            location=location,
            hint="decorate and call the function while that setting is off: "
            'jax.config.update("jax_custom_vjp3", False)',
        )
