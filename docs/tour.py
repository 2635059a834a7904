"""The programs that README.md shows: `python docs/tour.py trace` or `pipeline`."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp

import covector


def loss(w, x):  # type: ignore[no-untyped-def]
    h = jnp.tanh(x @ w)
    return jnp.sum(h * h)


def main() -> None:
    w = jax.ShapeDtypeStruct((8, 3), jnp.float32)
    x = jax.ShapeDtypeStruct((4, 8), jnp.float32)
    module = covector.make_ir(loss)(w, x)
    if sys.argv[1] == "pipeline":
        module = covector.run_passes(module, "linearize{wrt=0},transpose,cse,dce")
    print(module)


if __name__ == "__main__":
    main()
