"""Where `jit` is asked to run: devices and shardings of one device, in arguments and in structs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

X = jnp.arange(3.0)
HERE = jax.devices()[0]
PLACE = jax.sharding.SingleDeviceSharding(HERE)
STRUCT = jax.ShapeDtypeStruct((3,), jnp.float32)
EMPTY, SPEC = jax.sharding.Mesh(np.empty((), object), ()), jax.sharding.PartitionSpec()
double = lambda x: x * 2  # noqa: E731


@pytest.mark.filterwarnings("ignore:backend and device argument")
@pytest.mark.parametrize(
    "way",
    [{"in_shardings": PLACE}, {"out_shardings": PLACE}, {"device": HERE}, {"backend": "cpu"}, {}],
)
def test_results_are_bound_to_a_device_that_was_asked_for(way: dict[str, Any]) -> None:
    for m in (covector, jax):
        f: Any = m.jit(double, **way)
        for _ in range(2):  # the second is dispatched in C++
            assert f(X).committed == bool(way)
        assert f.lower(X).compile()(X).committed == bool(way)


def on_two_devices() -> Any:
    if len(jax.devices()) < 2:
        pytest.skip("one device")
    return jax.devices()[1]


def test_arguments_elsewhere_are_refused() -> None:
    there = jax.device_put(X, on_two_devices())
    for m in (covector, jax):
        with pytest.raises(ValueError, match=r"\[1\].*\[0\]"):
            m.jit(double, out_shardings=PLACE)(there)
    with pytest.raises(ValueError, match=r"move arguments with jax\.device_put"):
        covector.jit(double, device=HERE)(there)


def test_programs_run_on_the_device_that_was_asked_for() -> None:
    other = on_two_devices()
    place = jax.sharding.SingleDeviceSharding(other)
    for m in (covector, jax):
        f = m.jit(double, out_shardings=place)
        compiled = f.lower(STRUCT).compile()
        for out in (f(np.arange(3.0)), compiled(np.ones(3, np.float32))):
            assert out.devices() == {other}
    with pytest.raises(ValueError, match="is called in a traced function, and was asked to run on"):
        covector.grad(lambda x: covector.jit(double, out_shardings=place)(x))(1.0)


def test_programs_are_compiled_for_where_structs_will_be() -> None:
    other = on_two_devices()
    mesh = jax.sharding.Mesh(np.asarray([HERE, other]), ("x",))
    both = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    for place, x in (
        (jax.sharding.SingleDeviceSharding(other), X),
        (both, jnp.arange(4.0)),
    ):
        struct = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
        compiled = covector.jit(double).lower(struct).compile()
        out = compiled(jax.device_put(x, place))
        assert out.sharding == place
        np.testing.assert_array_equal(out, 2 * x)


REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "a struct for an array": (
        lambda m: m.jit(lambda x: x)({"a": X, "b": [STRUCT]}),
        TypeError,
        r"no value: it is the argument x\.b\[0\] of lambda",
    ),
    "a struct as a constant": (
        lambda m: m.jit(lambda x: (x, STRUCT))(X),
        TypeError,
        "A ShapeDtypeStruct does not have a value|, a ShapeDtypeStruct: traced functions return",
    ),
    "options inside": (
        lambda m: m.jit(lambda x: m.jit(double, compiler_options={"no": "such"})(x))(X),
        ValueError,
        "is called in a traced function, and has compiler_options",
    ),
    "no device": (
        lambda m: m.jit(double, in_shardings=jax.devices()[0], out_shardings="there"),
        TypeError,
        "jit takes shardings and devices, got 'there'",
    ),
    "no devices": (
        lambda m: m.jit(double, out_shardings=jax.sharding.NamedSharding(EMPTY, SPEC)),
        ValueError,
        "jit got an empty NamedSharding",
    ),
    "shardings that do not nest as arguments": (
        lambda m: m.jit(double, in_shardings=(PLACE, PLACE))(X),
        ValueError,
        "in_shardings of lambda: .*different lengths of tuple",
    ),
    "shardings that do not nest as results": (
        lambda m: m.jit(double, out_shardings={"a": [None]})(X),
        ValueError,
        "out_shardings of lambda: .*different types",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_in_jax(name: str) -> None:
    """With errors of the same types."""
    call, kind, words = REFUSED[name]
    with pytest.raises(kind):
        call(jax)
    with pytest.raises(kind, match=words):
        call(covector)
