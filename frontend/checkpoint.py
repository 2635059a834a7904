"""`jax.checkpoint`, with its policy looked at before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax

from .policies import policy_from_jax, policy_to_jax


def checkpoint(fun: Callable[..., Any], *, policy: Any = None, **options: Any) -> Any:
    """A function whose backward pass computes what it needs again, rather than keeping it.

    It is `jax.checkpoint` and takes its options, and the regions it makes are those of JAX; a
    policy, which says what is kept all the same, may be given by its name too: "dots_saveable",
    "save_only_these_names(a,b)".

    Raises ArgumentError for a policy that is neither a function nor the name of one, at once
    instead of in the first backward pass.
    """
    known = policy_from_jax(policy)
    given = policy_to_jax(known) if isinstance(policy, str) else policy
    return jax.checkpoint(fun, policy=given, **options)


checkpoint.__signature__ = inspect.signature(jax.checkpoint)  # type: ignore[attr-defined]


remat = checkpoint
