"""Solves that may fail say so: a failed one raises, with numbers, or yields NaNs.

Whether a solve has converged is known when the program runs. The check costs one branch; only a
failure calls back to Python, which raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.errors import SolveError, raise_while_running
from .raising import ask


@dataclass(frozen=True)
class Report:
    """What is called when a solve has failed. Equal reports are equal, so programs stay so too."""

    claim: str
    names: tuple[str, ...]
    hint: str

    def __call__(self, ok: Any, *facts: Any) -> Any:
        if np.all(ok):  # in a batch, all examples are asked as soon as there might be a failure
            return np.asarray(ok)
        first = int(np.argmin(np.ravel(ok)))
        shown = []
        for name, fact in zip(self.names, facts, strict=True):
            values = np.ravel(np.broadcast_to(fact, np.shape(ok)))
            shown.append(f"{name} {values[first]:.3g}")
        if np.size(ok) > 1:
            shown.append(f"example {first} of the batch")
        details = f" ({', '.join(shown)})" if shown else ""
        return raise_while_running(SolveError(self.claim + details, hint=self.hint))


def checked(
    tree: Any, ok: Any, claim: str, hint: str, facts: Mapping[str, Any], throw: bool = True
) -> Any:
    """The tree where the boolean scalar `ok` holds. Elsewhere NaNs or, with `throw`, a SolveError.

    `facts` are scalars to show in the message. In place of NaNs, other leaves than floats and
    complex numbers have zeros.
    """
    if throw:
        report = Report(claim, tuple(facts), hint)
        ok = jax.lax.cond(ok, lambda: ok, lambda: ask(report, ok, *facts.values()))
    return jax.tree.map(lambda x: jnp.where(ok, x, _no_value(x)), tree)


def _no_value(x: Any) -> Any:
    inexact = jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    return jnp.full_like(x, jnp.nan if inexact else 0)
