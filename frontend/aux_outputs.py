"""Auxiliary outputs: traced values come back as arrays, all else as the function returned it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from .cells import is_ref
from .jax_compat import Tracer


@dataclass(frozen=True, eq=False)
class AuxTree:
    """How auxiliary outputs nest.

    tree: its leaves are flat outputs, or objects of the caller's.
    held: those objects, by position.
    """

    tree: Any
    held: Mapping[int, Any]

    @property
    def n_flat(self) -> int:
        return int(self.tree.num_leaves) - len(self.held)

    def nest(self, flat: Sequence[Any]) -> Any:
        """The auxiliary output, from its flat outputs."""
        values = iter(flat)
        leaves = [
            self.held[i] if i in self.held else next(values) for i in range(self.tree.num_leaves)
        ]
        return jax.tree.unflatten(self.tree, leaves)


def flatten_aux(aux: Any) -> tuple[list[Any], AuxTree]:
    """The traced values in an auxiliary output, and how they nest in it."""
    leaves, tree = jax.tree.flatten(aux)
    held = {i: x for i, x in enumerate(leaves) if not isinstance(x, Tracer) and not is_ref(x)}
    return [x for i, x in enumerate(leaves) if i not in held], AuxTree(tree, held)
