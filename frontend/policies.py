"""Checkpoint policies: the names of JAX's own as text, any other as a thunk that asks it."""

from __future__ import annotations

from typing import Any

import jax

from ..ir.graph import Equation, Thunk
from .avals import to_aval
from .export_rules import jax_operation
from .jax_compat import is_recompute

_NAMED_BY_ARGUMENTS = ("save_only_these_names", "save_any_names_but_these")


def policy_from_jax(policy: Any) -> str | Thunk | None:
    """The policy of a checkpoint as a parameter: `"dots_saveable"`, `"save_only_these_names(a,b)"`."""
    if policy is None:
        return None
    for name, value in vars(jax.checkpoint_policies).items():
        if value is policy:
            return name
    for name in _NAMED_BY_ARGUMENTS:
        for held in vars(policy).values() if hasattr(policy, "__dict__") else ():
            if isinstance(held, frozenset):
                names = sorted(map(str, held))
                if getattr(jax.checkpoint_policies, name)(*names) == policy:
                    return f"{name}({','.join(names)})"
    return Thunk(str(getattr(policy, "__name__", "policy")), _Asked(policy))


def policy_to_jax(policy: Any) -> Any:
    """The policy as jax.checkpoint takes it."""
    if isinstance(policy, Thunk):
        return policy.make.policy  # type: ignore[attr-defined]
    if policy is None:
        return None
    name, _, names = policy.removesuffix(")").partition("(")
    found = getattr(jax.checkpoint_policies, name)
    return found(*names.split(",")) if name in _NAMED_BY_ARGUMENTS else found


class _Asked:
    """Asks a policy of JAX's about one of our equations."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def __call__(self, eqn: Equation) -> bool:
        primitive, params = jax_operation(eqn)
        avals = [to_aval(x.type) for x in eqn.inputs]
        answer = self.policy(primitive, *avals, **params)
        return bool(answer) and not is_recompute(answer)
