"""shard_map over the mesh of jax.set_mesh: JAX names no devices where it is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

import covector

X = jnp.arange(8.0)


def mesh_of(devices: Any) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.asarray(devices), ("i",), axis_types=(jax.sharding.AxisType.Auto,))


def mapped(x: Any) -> Any:
    f = jax.shard_map(lambda x: x * lax.psum(jnp.sin(x), "i"), in_specs=P("i"), out_specs=P("i"))
    return f(x)


def within(x: Any) -> Any:
    """A shard_map in a scan, a branch and a jitted function."""
    step = lambda c, _: (lax.cond(c[0] > -9.0, jax.jit(mapped), jnp.sin, c), None)
    return lax.scan(step, x, None, length=2)[0]


TRANSFORMED: dict[str, Callable[[Any, Any], Any]] = {
    "jit": lambda lib, f: lib.jit(f)(X),
    "grad": lambda lib, f: lib.grad(lambda x: f(x).sum())(X),
    "jit of grad": lambda lib, f: lib.jit(lib.grad(lambda x: f(x).sum()))(X),
    "jvp": lambda lib, f: lib.jit(lambda x: lib.jvp(f, (x,), (x,))[1])(X),
}


@pytest.mark.parametrize("f", [mapped, within], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", TRANSFORMED)
def test_it_runs_on_the_devices_of_that_mesh(name: str, f: Any) -> None:
    with jax.set_mesh(mesh_of(jax.devices()[:4])):
        got, want = (TRANSFORMED[name](lib, f) for lib in (covector, jax))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got.sharding.device_set == want.sharding.device_set


def test_another_mesh_is_another_program() -> None:
    f = covector.jit(mapped)
    for devices in (jax.devices()[:4], jax.devices()[3::-1], jax.devices()[:2]):
        with jax.set_mesh(mesh_of(devices)):
            y = f(X)
            np.testing.assert_allclose(y, jax.jit(mapped)(X), rtol=1e-6)
        assert list(y.sharding.mesh.devices.flat) == list(devices)
