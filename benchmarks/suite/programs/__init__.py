"""The programs of the suite: plain JAX functions, a file for each family.

Each family is a list of `Program`s. No program knows which library differentiates it: it is handed
one, with the names of JAX's transformations.
"""

from __future__ import annotations

from importlib import import_module

from .program import Program

FAMILIES = (
    "gpt", "vision", "recurrent", "neural_ode", "pinn", "mlp",
    "hierarchical", "molecular", "spectral", "scalar", "tutorial",
)  # fmt: skip


def all_programs(quick: bool) -> list[Program]:
    """Every program, the largest made smaller for the quick mode."""
    return [p for family in FAMILIES for p in import_module(f"{__name__}.{family}").programs(quick)]
