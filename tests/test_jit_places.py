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
P = jax.sharding.PartitionSpec
double = lambda x: x * 2


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
        pytest.skip("it takes a second device")
    return jax.devices()[1]


def test_arguments_elsewhere_are_refused() -> None:
    there = jax.device_put(X, on_two_devices())
    for m in (covector, jax):
        for f, args in (
            (m.jit(double, out_shardings=PLACE), (there,)),
            (m.jit(jnp.add, in_shardings=(PLACE, None)), (X, there)),
            (m.jit(jnp.add), (jax.device_put(X, HERE), there)),
        ):
            with pytest.raises(ValueError, match=r"\[1\].*\[0\]|\[0\].*\[1\]"):
                f(*args)
    mesh = jax.sharding.Mesh(np.asarray([HERE, on_two_devices()]), ("x",))
    parted = jax.device_put(jnp.arange(4.0), jax.sharding.NamedSharding(mesh, P("x")))
    for m in (covector, jax):
        with pytest.raises(ValueError, match="jit"):
            m.jit(double, in_shardings=PLACE)(parted)
    with pytest.raises(ValueError, match=r"move arguments with jax\.device_put"):
        covector.jit(double, out_shardings=PLACE)(there)


ON_A_MESH = jax.sharding.NamedSharding(jax.sharding.Mesh(np.asarray([HERE]), ("x",)), P("x"))


@pytest.mark.filterwarnings("ignore:backend and device argument")
@pytest.mark.parametrize(
    "way",
    [{"in_shardings": PLACE}, {"in_shardings": ON_A_MESH}, {"device": HERE}, {"backend": "cpu"}],
)
def test_arguments_elsewhere_are_moved(way: dict[str, Any]) -> None:
    there = jax.device_put(X, on_two_devices())
    f, g = covector.jit(double, **way), jax.jit(double, **way)
    for x in (there, there + 1, jax.device_put(X, PLACE), jax.device_put(X, ON_A_MESH), X):
        for _ in range(2):  # the second is dispatched in C++
            out, want = f(x), g(x)
            assert out.sharding.is_equivalent_to(want.sharding, 1)
            assert type(out.sharding) is type(want.sharding)
            np.testing.assert_array_equal(out, want)
        if "in_shardings" not in way:  # a device for the whole function
            for m in (covector, jax):
                compiled = m.jit(jnp.add, **way).lower(X, there).compile()
                for _ in range(2):
                    assert compiled(there, x).devices() == {HERE}
                    np.testing.assert_array_equal(compiled(there, x), X + np.asarray(x))
    assert there.devices() == {on_two_devices()}
    if "in_shardings" in way:
        for m in (covector, jax):
            with pytest.raises(ValueError, match=r"committed|disagree"):
                m.jit(double, **way).lower(X).compile()(there)


def test_results_have_the_sharding_that_was_asked_for() -> None:
    for m in (covector, jax):
        f = m.jit(lambda x: {"a": x, "b": (x + 1, None)}, out_shardings={"a": None, "b": ON_A_MESH})
        for out in (f(X), f(X), f.lower(X).compile()(X)):
            assert out["b"][0].sharding == ON_A_MESH
            assert out["a"].sharding.device_set == {HERE}


@pytest.mark.parametrize("spec", [P("x"), P("x", None), P(None, "x"), P(), P(None, None)])
@pytest.mark.parametrize("n", [1, 2])
def test_results_are_parted_in_the_words_of_the_arguments(spec: Any, n: int) -> None:
    on_two_devices()
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:n]), ("x",))
    m = jax.device_put(jnp.arange(16.0).reshape(4, 4), jax.sharding.NamedSharding(mesh, spec))
    v = jax.device_put(jnp.arange(4.0), jax.sharding.NamedSharding(mesh, P("x")))
    for f, args in (
        (lambda m, v: (m.sum(), m.sum(0), m.T, m @ m, v + 1, m * v, jnp.zeros((4, 4))), (m, v)),
        (lambda v, m: (m[None], m @ v, jnp.sin(v)), (v, m)),
        (lambda m: jax.lax.scan(lambda c, _: (c * m, c.sum()), m, None, length=2), (m,)),
    ):
        for out, want in zip(
            jax.tree.leaves(covector.jit(f)(*args)),
            jax.tree.leaves(jax.jit(f)(*args)),
            strict=True,
        ):
            assert (out.sharding, out.aval) == (want.sharding, want.aval)


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


def test_a_struct_where_only_types_are_asked_for() -> None:
    """Inside of eval_shape; where values are needed after all, it is refused as elsewhere."""
    inner = covector.jit(double)
    assert covector.eval_shape(lambda: inner(STRUCT)).shape == STRUCT.shape
    for run in (lambda: covector.jit(lambda: inner(STRUCT))(), lambda: inner(STRUCT)):
        with pytest.raises(TypeError, match="value"):
            run()
