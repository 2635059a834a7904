"""A step of molecular dynamics: forces of a pair list, scattered to the atoms, velocity Verlet."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from .program import Normal, Program

SIDE, BOX, DT = 4, 6.0, 1e-3


def pair_energies(positions: Any, pairs: Any) -> Any:
    """Energy of each atom, f32[n]: half of that of each pair, Lennard-Jones cut at 2.5."""
    i, j = pairs[:, 0], pairs[:, 1]
    d = positions[i] - positions[j]
    d = d - BOX * jnp.round(d / BOX)
    r2 = jnp.sum(d**2, axis=1)
    inverse = jnp.where(r2 < 6.25, 1.0 / r2, 0.0) ** 3
    energies = 2.0 * (inverse**2 - inverse)
    each = jnp.zeros(positions.shape[0])
    return each.at[i].add(energies).at[j].add(energies)


def energy(positions: Any, pairs: Any) -> Any:
    return pair_energies(positions, pairs).sum()


def steps(library: Any, fun: Any) -> Any:
    """Two steps of velocity Verlet."""

    def advance(positions: Any, pairs: Any) -> Any:
        velocities = jnp.zeros_like(positions)
        for _ in range(2):
            velocities = velocities - DT / 2 * library.grad(fun)(positions, pairs)
            positions = positions + DT * velocities
            velocities = velocities - DT / 2 * library.grad(fun)(positions, pairs)
        return positions, velocities

    return advance


def programs(quick: bool) -> list[Program]:
    grid = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3), -1).reshape(-1, 3) * (BOX / SIDE)
    positions = jnp.asarray(grid, jnp.float32) + Normal()(SIDE**3, 3, scale=0.05)
    pairs = np.stack(np.triu_indices(SIDE**3, 1), 1).astype(np.int32)
    return [Program("MD steps, pair list", energy, (positions, jnp.asarray(pairs)), steps)]
