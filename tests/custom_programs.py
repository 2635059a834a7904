"""Functions with derivative rules of their own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from covector.ir.graph import Graph, walk_graphs

X = jnp.asarray([0.3, -0.7, 1.1])
Y = jnp.asarray([1.0, 2.0, -0.5])


@jax.custom_jvp
def scaled_sin(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


@scaled_sin.defjvp
def _scaled_sin_jvp(primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    return scaled_sin(x, y), 7.0 * jnp.cos(x) * y * dx + jnp.sin(x) * dy


@jax.custom_vjp
def clipped(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


def _clipped_fwd(x: Any, y: Any) -> Any:
    return clipped(x, y), (x, y)


def _clipped_bwd(residuals: Any, ct: Any) -> Any:
    x, y = residuals
    return jnp.cos(x) * y * jnp.clip(ct, -0.5, 0.5) * 3.0, None


clipped.defvjp(_clipped_fwd, _clipped_bwd)


def primitives(graph: Graph) -> list[str]:
    return [eqn.primitive.name for g in walk_graphs(graph) for eqn in g.equations]
