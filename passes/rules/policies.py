"""Policies of checkpoint: which results of a region are saved, and in which memory.

A policy is a function of an equation. As text, those of JAX have JAX's names, with their arguments:

    dots_saveable
    save_only_these_names(a,b)
    save_and_offload_only_these_names(a,b;c;device;pinned_host)
    offload_dot_with_no_batch_dims(device;pinned_host)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

from ...ir.errors import PassError, did_you_mean
from ...ir.graph import Equation, Thunk
from ...ir.ops.call import name
from ...ir.ops.contraction import conv_general_dilated, dot_general
from ...ir.ops.placement import MEMORIES


class Offload(NamedTuple):
    """Saved in the memory `target`, moved back to `source` when it is read."""

    source: str
    target: str


Policy = Callable[[Equation], "bool | Offload"]


def find_policy(eqn: Equation) -> Policy:
    """What the equation's `policy` says of an equation inside: whether its outputs are saved."""
    policy = eqn.params["policy"]
    if policy is None:
        return nothing_saveable
    if isinstance(policy, Thunk):
        return policy
    found = named_policy(policy)
    if found is None:
        title = policy.partition("(")[0]
        raise PassError(
            f"there is no checkpoint policy {policy!r}",
            eqn,
            hint=did_you_mean(title, known_policies()),
        )
    return found


def known_policies() -> list[str]:
    """The names that policies have as text."""
    return [*POLICIES, *BY_NAME, SAVE_AND_OFFLOAD, OFFLOAD_DOTS]


@cache
def named_policy(text: str) -> Policy | None:
    """The policy that a text stands for; None for one that stands for none."""
    title, parenthesis, rest = text.partition("(")
    if not parenthesis:
        return POLICIES.get(title)
    if not rest.endswith(")"):
        return None
    groups = [_names(group) for group in rest[:-1].split(";")]
    if title in BY_NAME and len(groups) == 1:
        choose, names = BY_NAME[title], frozenset(groups[0])
        return lambda eqn: eqn.primitive is name and choose(eqn.params["name"], names)
    how = _offload(groups[-2:])
    if title == SAVE_AND_OFFLOAD and len(groups) == 4 and how is not None:
        return _save_and_offload(frozenset(groups[0]), frozenset(groups[1]), how)
    if title == OFFLOAD_DOTS and len(groups) == 2 and how is not None:
        return lambda eqn: how if dots_with_no_batch_dims_saveable(eqn) else False
    return None


def _names(text: str) -> list[str]:
    return [n.strip() for n in text.split(",") if n.strip()]


def _offload(groups: list[list[str]]) -> Offload | None:
    memories = [m for group in groups for m in group]
    if len(groups) != 2 or len(memories) != 2 or any(m not in MEMORIES for m in memories):
        return None
    return Offload(*memories)


def _save_and_offload(saved: frozenset[str], moved: frozenset[str], how: Offload) -> Policy:
    def policy(eqn: Equation) -> bool | Offload:
        if eqn.primitive is not name:
            return False
        given = eqn.params["name"]
        return how if given in moved else given in saved

    return policy


def nothing_saveable(eqn: Equation) -> bool:
    return False


def everything_saveable(eqn: Equation) -> bool:
    return True


def dots_saveable(eqn: Equation) -> bool:
    return eqn.primitive in (dot_general, conv_general_dilated)


def dots_with_no_batch_dims_saveable(eqn: Equation) -> bool:
    return eqn.primitive is dot_general and not any(eqn.params["dimension_numbers"][1])


POLICIES: dict[str, Policy] = {
    "nothing_saveable": nothing_saveable,
    "everything_saveable": everything_saveable,
    "dots_saveable": dots_saveable,
    "checkpoint_dots": dots_saveable,
    "dots_with_no_batch_dims_saveable": dots_with_no_batch_dims_saveable,
    "checkpoint_dots_with_no_batch_dims": dots_with_no_batch_dims_saveable,
}

BY_NAME: dict[str, Callable[[str, frozenset[str]], bool]] = {
    "save_only_these_names": lambda given, names: given in names,
    "save_any_names_but_these": lambda given, names: given not in names,
}

SAVE_AND_OFFLOAD: Final = "save_and_offload_only_these_names"
OFFLOAD_DOTS: Final = "offload_dot_with_no_batch_dims"
