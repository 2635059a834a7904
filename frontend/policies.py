"""Checkpoint policies: the names of JAX's own as text, any other as a thunk that asks it."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Final

import jax

from ..ir.errors import ArgumentError, did_you_mean
from ..ir.graph import Equation, Thunk
from ..passes.rules.policies import (
    BY_NAME,
    OFFLOAD_DOTS,
    POLICIES,
    SAVE_AND_OFFLOAD,
    Offload,
    known_policies,
    named_policy,
)
from .avals import to_aval
from .export_rules import jax_operation
from .jax_compat_rules import is_recompute, offload_memories


def policy_from_jax(policy: Any) -> str | Thunk | None:
    """The policy as a parameter: `"dots_saveable"`, `"save_only_these_names(a,b)"`, a thunk."""
    if policy is None:
        return None
    if not callable(policy):
        return _policy_named(policy)
    for name, value in vars(jax.checkpoint_policies).items():
        if value is policy:
            return _public(name, policy)
    for name in BY_NAME:
        if _is_made_by(policy, getattr(jax.checkpoint_policies, name)()):
            (names,) = (held for held in _held(policy).values() if _is_set(held))
            return f"{name}({_listed(names)})"
    return _offloading(policy) or _asked(policy)


def _public(name: str, policy: Any) -> str | Thunk:
    """A member of jax.checkpoint_policies; raises ArgumentError for one that only makes them."""
    if name in POLICIES:
        return name
    if name in _MAKERS:
        raise ArgumentError(
            f"{name} makes a checkpoint policy, and is none itself",
            hint=f"call it, and give what it returns: {_MAKERS[name]}",
        )
    return _asked(policy)


_MAKERS: Final = {
    "save_only_these_names": 'save_only_these_names("a", "b")',
    "save_any_names_but_these": 'save_any_names_but_these("a", "b")',
    "save_anything_except_these_names": 'save_anything_except_these_names("a", "b")',
    "save_from_both_policies": "save_from_both_policies(one, other)",
    OFFLOAD_DOTS: f'{OFFLOAD_DOTS}("device", "pinned_host")',
    SAVE_AND_OFFLOAD: f"{SAVE_AND_OFFLOAD}(names_which_can_be_saved=..., ...)",
}
"""Members of jax.checkpoint_policies that make policies, and how each is called."""


def _offloading(policy: Any) -> str | None:
    """The text of a policy that moves what it saves to another memory."""
    for name, sample in _OFFLOADING.items():
        if _is_made_by(policy, sample):
            held = _held(policy)
            memories = f"{held['offload_src']};{held['offload_dst']}"
            if name == OFFLOAD_DOTS:
                return f"{name}({memories})"
            saved, moved = (
                _listed(held[f"names_which_can_be_{what}"]) for what in ("saved", "offloaded")
            )
            return f"{name}({saved};{moved};{memories})"
    return None


def _asked(policy: Any) -> Thunk:
    return Thunk(str(getattr(policy, "__name__", "policy")), _Asked(policy))


def _policy_named(policy: Any) -> str:
    """A policy given by its name. Raises ArgumentError for what is neither name nor function."""
    if isinstance(policy, str) and named_policy(policy) is not None:
        return policy
    title = str(policy).partition("(")[0]
    if title in known_policies():
        hint = f"as text it is {_AS_TEXT.get(title, title)}"
    else:
        hint = did_you_mean(title, known_policies()) or (
            "those of jax.checkpoint_policies serve: dots_saveable, save_only_these_names(a,b), ..."
        )
    raise ArgumentError(
        f"a checkpoint policy is a function or the name of one, not {policy!r}", hint=hint
    )


_AS_TEXT: Final = {
    "save_only_these_names": "save_only_these_names(a,b)",
    "save_any_names_but_these": "save_any_names_but_these(a,b)",
    OFFLOAD_DOTS: f"{OFFLOAD_DOTS}(device;pinned_host)",
    SAVE_AND_OFFLOAD: f"{SAVE_AND_OFFLOAD}(a,b;c;device;pinned_host)",
}
"""How policies with arguments are written."""


_OFFLOADING: Final[dict[str, Any]] = {
    OFFLOAD_DOTS: jax.checkpoint_policies.offload_dot_with_no_batch_dims("device", "pinned_host"),
    SAVE_AND_OFFLOAD: jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}
"""A policy made by each function of JAX's."""


def _is_made_by(policy: Any, sample: Any) -> bool:
    """Whether a policy is made by the function that made the sample."""
    if isinstance(sample, FunctionType):
        return getattr(policy, "__code__", None) is sample.__code__
    return type(policy) is type(sample)


def _held(policy: Any) -> dict[str, Any]:
    """What a policy was made from: the fields of an object, or what a function closes over."""
    cells = getattr(policy, "__closure__", None) or ()
    names = policy.__code__.co_freevars if cells else ()
    return {**vars(policy), **{n: c.cell_contents for n, c in zip(names, cells, strict=True)}}


def _is_set(x: Any) -> bool:
    return isinstance(x, set | frozenset)


def _listed(names: Any) -> str:
    return ",".join(sorted(map(str, names)))


def policy_to_jax(policy: Any) -> Any:
    """The policy as jax.checkpoint takes it."""
    if isinstance(policy, Thunk):
        return policy.make.policy  # type: ignore[attr-defined]
    if policy is None:
        return None
    name, parenthesis, rest = policy.removesuffix(")").partition("(")
    found = getattr(jax.checkpoint_policies, name)
    if not parenthesis:
        return found
    groups = [[x for x in group.split(",") if x] for group in rest.split(";")]
    if name in BY_NAME:
        return found(*groups[0])
    (source,), (target,) = groups[-2:]
    if name == OFFLOAD_DOTS:
        return found(source, target)
    return found(
        names_which_can_be_saved=groups[0],
        names_which_can_be_offloaded=groups[1],
        offload_src=source,
        offload_dst=target,
    )


class _Asked:
    """Asks a policy of JAX's about one of our equations."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def __call__(self, eqn: Equation) -> bool | Offload:
        primitive, params = jax_operation(eqn)
        avals = [to_aval(x.type) for x in eqn.inputs]
        if primitive is None:  # made by a derivative, where JAX would have products
            primitive, params = jax.lax.mul_p, {}
        answer = self.policy(primitive, *avals, **params)
        memories = offload_memories(answer)
        if memories is not None:
            return Offload(*memories)
        return bool(answer) and not is_recompute(answer)
