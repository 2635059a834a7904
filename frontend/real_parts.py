"""Complex unknowns as pairs of real ones.

The derivative of an equation with conjugates, moduli or real parts in it is linear over the real
numbers only, so that is what its systems are solved over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class RealParts:
    """Values nested as `tree`, with a pair of real arrays for each leaf that is complex."""

    tree: Any
    is_complex: tuple[bool, ...]

    @classmethod
    def of(cls, x: Any) -> RealParts:
        leaves, tree = jax.tree.flatten(x)
        return cls(tree, tuple(jnp.iscomplexobj(leaf) for leaf in leaves))

    def split(self, x: Any) -> Any:
        """x without complex leaves; as it is if it has none, or nests in another way."""
        leaves, tree = jax.tree.flatten(x)
        if tree != self.tree or not any(self.is_complex):
            return x
        pairs = zip(leaves, self.is_complex, strict=True)
        return [(jnp.real(leaf), jnp.imag(leaf)) if flag else leaf for leaf, flag in pairs]

    def join(self, parts: Any) -> Any:
        """What was split."""
        if not any(self.is_complex):
            return parts
        pairs = zip(parts, self.is_complex, strict=True)
        return jax.tree.unflatten(
            self.tree, [jax.lax.complex(*part) if flag else part for part, flag in pairs]
        )
