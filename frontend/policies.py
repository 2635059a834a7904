"""Checkpoint policies: the names of JAX's own as text, any other as a thunk that asks it."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import jax

from ..ir.errors import PassError, UsageError, did_you_mean
from ..ir.graph import Equation, Thunk
from ..passes.rules.recompute import BY_NAME, POLICIES, named_policy
from .avals import to_aval
from .export_rules import jax_operation
from .jax_compat import is_recompute, offload_target

_NAMED_BY_ARGUMENTS = ("save_only_these_names", "save_any_names_but_these")


def policy_from_jax(policy: Any) -> str | Thunk | None:
    """The policy as a parameter: `"dots_saveable"`, `"save_only_these_names(a,b)"`, a thunk."""
    if policy is None:
        return None
    if not callable(policy):
        return _policy_named(policy)
    for name, value in vars(jax.checkpoint_policies).items():
        if value is policy:
            return name
    for name in _NAMED_BY_ARGUMENTS:
        if _is_made_by(policy, name):
            (names,) = (held for held in _held(policy) if isinstance(held, set | frozenset))
            return f"{name}({','.join(sorted(map(str, names)))})"
    return Thunk(str(getattr(policy, "__name__", "policy")), _Asked(policy))


def _policy_named(policy: Any) -> str:
    """A policy given by its name. Raises UsageError for what is neither name nor function."""
    if isinstance(policy, str) and named_policy(policy) is not None:
        return policy
    raise UsageError(
        f"a checkpoint policy is a function or the name of one, not {policy!r}",
        hint=did_you_mean(str(policy), [*POLICIES, *BY_NAME])
        or "those of jax.checkpoint_policies serve: dots_saveable, save_only_these_names(a,b), ...",
    )


def _is_made_by(policy: Any, name: str) -> bool:
    """Whether a policy is what that function of jax.checkpoint_policies returns."""
    sample = getattr(jax.checkpoint_policies, name)()
    if isinstance(sample, FunctionType):
        return getattr(policy, "__code__", None) is sample.__code__
    return type(policy) is type(sample)


def _held(policy: Any) -> list[Any]:
    """What a policy was made from: the fields of an object, or what a function closes over."""
    cells = getattr(policy, "__closure__", None) or ()
    return [*vars(policy).values(), *(cell.cell_contents for cell in cells)]


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
        if primitive is None:  # made by a derivative, where JAX would have products
            primitive, params = jax.lax.mul_p, {}
        answer = self.policy(primitive, *avals, **params)
        memory = offload_target(answer)
        if memory is not None:
            raise PassError(
                f"a checkpoint policy offloads the result of {eqn.primitive.name} to {memory}: "
                "covector does not move residuals between memories",
                eqn,
                hint="save it (save_only_these_names, dots_saveable), or give a memory_budget",
            )
        return bool(answer) and not is_recompute(answer)
