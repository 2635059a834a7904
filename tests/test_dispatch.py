"""From a Python call to an executable: signatures, trees, static and donated arguments, tracers,
placements.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stablehlo_samples import compile_add, identity_module, identity_text

import covector
from covector.frontend.compiled import read_inputs
from covector.lowering import dispatch, jax_compat, jax_compat_calls
from covector.lowering.call_spec import Call, CallSpec
from covector.lowering.dispatch import Done, Plan, make_dispatcher
from covector.lowering.execute import Executable, compile_module, place


class Doubler:
    """A cache-miss callback that compiles `leaf + leaf` for every leaf, and counts how often it is
    asked.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Plan | Done:
        self.calls.append(call)
        if (
            any(isinstance(x, jax.core.Tracer) for x in call.leaves)
            or not jax_compat_calls.is_trace_clean()
        ):
            return Done(jax.tree.unflatten(call.tree, [x + x for x in call.leaves]))
        avals = [jax.typeof(x) for x in call.leaves]
        executable = compile_module(
            identity_module(avals), name="double", in_types=avals, out_types=avals,
            placement=place(call.leaves), donated=call.donated,
        )  # fmt: skip
        return Plan(executable, call.tree)


def same(*args: Any, **kwargs: Any) -> Any:
    return jax.tree.map(lambda x: x + x, (args, kwargs))


def doubler(**options: Any) -> tuple[Any, Doubler]:
    miss = Doubler()
    return make_dispatcher(same, miss, **options), miss


def test_a_signature_misses_once() -> None:
    run, miss = doubler()
    for x in (1.0, 2.0, 3.0):
        (out,), _ = run(jnp.full(3, x))
        np.testing.assert_array_equal(out, [2 * x] * 3)
    assert len(miss.calls) == 1
    assert run._cache_size() == 1


def test_calls_of_a_known_signature_stay_in_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = doubler()
    run(jnp.ones(2))
    monkeypatch.setattr(dispatch._Lookup, "answer", None)
    monkeypatch.setattr(Executable, "run", None)
    np.testing.assert_array_equal(run(jnp.ones(2))[0][0], [2, 2])


def test_what_makes_a_new_signature() -> None:
    run, miss = doubler()
    arguments = [
        1,
        1.0,
        np.float32(1),
        np.ones(2),
        np.ones(2, np.int32),
        np.ones(3, np.int32),
        jnp.ones(3),
        2,
    ]
    for x in arguments:
        run(x)
    kinds = {(jax.typeof(x)) for x in arguments}
    assert len(miss.calls) == len(kinds) == 7
    run(jax.device_put(jnp.ones(3), jax.devices()[0]))  # committed
    assert len(miss.calls) == 8
    run([1.0], b=2.0), run([1.0], a=2.0), run((1.0,), a=2.0), run([1.0], b=7.0)
    assert len(miss.calls) == 11
    with jax.enable_x64(True):
        assert run(np.ones(2))[0][0].dtype == np.float64
    assert run(np.ones(2))[0][0].dtype == np.float32
    assert len(miss.calls) == 12


def test_outputs_are_as_jits() -> None:
    run, _ = doubler()
    device = jax.devices()[0]
    for x in (
        1,
        2.5,
        np.float32(3),
        jnp.ones(2),
        jax.device_put(jnp.ones(2), device),
        np.ones(2),
        jnp.int32(1),
    ):
        for _ in range(2):
            ours, theirs = run(x)[0][0], jax.jit(same)(x)[0][0]
            assert (ours.aval, ours.committed, ours.sharding) == (
                theirs.aval,
                theirs.committed,
                theirs.sharding,
            )


def test_trees_and_keywords_keep_their_order() -> None:
    run, _ = doubler()
    for _ in range(2):
        args, kwargs = run({"b": 1.0, "a": [2.0, None]}, (3.0,), z=4.0, k={"y": 5.0})
        assert jax.tree.map(float, args) == ({"a": [4.0, None], "b": 2.0}, (6.0,))
        assert jax.tree.map(float, kwargs) == {"k": {"y": 10.0}, "z": 8.0}


def test_static_arguments_by_number_and_name() -> None:
    calls: list[Call] = []

    def scale(x: Any, power: int, *, mode: str = "a") -> Any:
        return x

    def miss(call: Call) -> Plan:
        calls.append(call)
        avals = [jax.typeof(x) for x in call.leaves]
        return Plan(
            compile_module(identity_module(avals), name="s", in_types=avals, out_types=avals), leaf
        )

    leaf = jax.tree.structure(0)
    run = make_dispatcher(scale, miss, static_argnames=("power", "mode"))
    for _ in range(2):
        run(1.0, 2), run(1.0, 3), run(1.0, power=2), run(1.0, 2, mode="b")
    assert [c.static for c in calls] == [
        ((1, 2),),
        ((1, 3),),
        (("power", 2),),
        ((1, 2), ("mode", "b")),
    ]
    assert calls[3].rebuild([7.0]) == ((7.0, 2), {"mode": "b"})
    with pytest.raises(ValueError, match="hash"):
        run(1.0, [2])


def test_call_spec_resolves_as_jit_does() -> None:
    def f(a: Any, b: Any, /, c: Any, *, d: Any = 0) -> None: ...

    assert CallSpec.resolve(f, static_argnums=-1) == CallSpec((2,), ("c",))
    assert CallSpec.resolve(f, static_argnames="c") == CallSpec((2,), ("c",))
    assert CallSpec.resolve(f, donate_argnums=(0, 2)) == CallSpec((), (), (0, 2), ("c",))
    with pytest.raises(ValueError, match="3 positional"):
        CallSpec.resolve(f, static_argnums=3)
    with pytest.raises(ValueError, match="no argument 'e'"):
        CallSpec.resolve(f, static_argnames="e")

    def g(a: Any, /, b: Any, *args: Any, **kwargs: Any) -> None: ...

    assert CallSpec.resolve(g, static_argnames=("b", "e")) == CallSpec((1,), ("b", "e"))
    for name in ("a", "args"):
        with pytest.raises(ValueError, match="no argument"):
            CallSpec.resolve(g, static_argnames=name)
    with pytest.raises(ValueError, match="both static and donated"):
        CallSpec.resolve(f, static_argnums=0, donate_argnums=0)
    call = CallSpec.resolve(f, static_argnums=0, donate_argnums=2).split(
        (0, [1.0, 2.0], {"x": 3.0}), {"d": 4.0}
    )
    assert call.leaves == (1.0, 2.0, 3.0, 4.0) and call.donated == (2,)


def test_donation_through_dispatch() -> None:
    run = make_dispatcher(lambda a, b: None, Doubler(), donate_argnums=(0,))
    for _ in range(3):
        x, y = jnp.ones(4), jnp.ones(4)
        run(x, y)
        assert x.is_deleted() and not y.is_deleted()


def test_tracers_are_asked_about_every_time() -> None:
    run, miss = doubler()
    run(1.0)
    tangent = jax.jvp(lambda x: run(x)[0][0], (1.0,), (1.0,))[1]
    assert tangent == 2
    assert jax.jit(lambda x: run(x)[0][0])(3.0) == 6
    assert jax.vmap(lambda x: run(x)[0][0])(jnp.arange(3.0)).shape == (3,)
    assert len(miss.calls) == 4
    jax.make_jaxpr(lambda: run(1.0))()  # no tracer among the arguments, but a trace around the call
    assert len(miss.calls) == 5
    run(2.0)
    assert len(miss.calls) == 5


def test_keys_are_dispatched_in_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    text = identity_text("tensor<2xui32>")
    aval = jax.typeof(jax.random.key(0))
    executable = compile_module(
        jax_compat.parse_module(text), name="key", in_types=[aval], out_types=[aval]
    )
    run = make_dispatcher(None, lambda call: Plan(executable, jax.tree.structure(0)), name="key")
    assert run(jax.random.key(1)) == jax.random.key(1)
    monkeypatch.setattr(dispatch._Lookup, "answer", None)
    assert run(jax.random.key(2)) == jax.random.key(2)


def test_constants_come_first() -> None:
    executable = compile_add()
    run = make_dispatcher(
        None, lambda call: Plan(executable, jax.tree.structure(0), [np.ones(3, np.float32)])
    )
    for i in range(3):
        np.testing.assert_array_equal(run(jnp.full(3, float(i))), [i + 1] * 3)


def test_dispatchers_share_by_key_only() -> None:
    first, second, third = Doubler(), Doubler(), Doubler()
    make_dispatcher(same, first, key="k")(1.0)
    make_dispatcher(same, second, key="k")(1.0)
    make_dispatcher(same, third)(1.0)
    assert [len(m.calls) for m in (first, second, third)] == [1, 0, 1]


def test_it_looks_like_the_function() -> None:
    def f(x: Any) -> Any:
        """Doc."""

    run = make_dispatcher(f, Doubler())
    assert (run.__name__, run.__doc__, run.__wrapped__) == ("f", "Doc.", f)
    run.trace = lambda: "ours"
    assert run.trace() == "ours"

    class Model:
        call = make_dispatcher(lambda self, x: x, Doubler(), static_argnums=0)

    assert jax.tree.leaves(Model().call(1.0)) == [2.0]


def test_clear_cache_and_disable_jit() -> None:
    run, miss = doubler()
    run(1.0)
    run.clear_cache()
    run(1.0)
    assert len(miss.calls) == 2
    with jax.disable_jit():
        assert run(4)[0][0] == 8
    assert len(miss.calls) == 2


def test_transformations_without_jit_run_under_disable_jit() -> None:
    def f(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.fori_loop(0, 3, lambda _, y: y * x, jnp.sin(x)))

    x = jnp.arange(3.0)
    want = jax.grad(f)(x), jax.jvp(f, (x,), (x,))[1]
    with jax.disable_jit():
        got = covector.grad(f)(x), covector.jvp(f, (x,), (x,))[1]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_without_cpp_dispatch_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax_compat_calls, "cpp", None)
    for test in (
        test_what_makes_a_new_signature,
        test_outputs_are_as_jits,
        test_trees_and_keywords_keep_their_order,
    ):
        test()
    test_static_arguments_by_number_and_name()
    test_donation_through_dispatch()
    test_tracers_are_asked_about_every_time()
    test_clear_cache_and_disable_jit()
    test_constants_come_first()


def test_arguments_on_different_devices() -> None:
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("it takes a second device")
    a, b = jax.device_put(1.0, devices[0]), jax.device_put(1.0, devices[1])
    with pytest.raises(ValueError, match="committed to different devices"):
        place([a, b])
    run, miss = doubler()
    for _ in range(2):
        assert run(b)[0][0].devices() == {devices[1]}
        assert run(a)[0][0].devices() == {devices[0]}
    assert len(miss.calls) == 2
    aval = jax.typeof(a)
    executable = compile_module(
        identity_module([aval]), name="d", in_types=[aval], out_types=[aval], placement=place([a])
    )
    with pytest.raises(ValueError, match=r"committed to cpu \[1\], it was compiled for cpu \[0\]"):
        executable.call(b)
    assert executable.call(a)[0].committed


def test_default_device_is_followed() -> None:
    devices = jax.devices()
    run, miss = doubler()
    for device in (devices[-1], devices[0]):
        with jax.default_device(device):
            for _ in range(2):
                out = run(1.0)[0][0]
                assert out.devices() == {device} and not out.committed
    assert len(miss.calls) == 2


def test_callables_of_every_kind() -> None:
    class Counter:
        def __call__(self, x: Any) -> Any: ...
        def method(self, x: Any) -> Any: ...

    for fun in (
        Counter(),
        Counter().method,
        functools.partial(same, 1.0),
        make_dispatcher(same, Doubler()),
    ):
        run = make_dispatcher(fun, miss := Doubler())
        run(1.0), run(1.0)
        assert len(miss.calls) == 1


def test_unknown_fastpath_names_stay_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(jax_compat_calls.pxla, "MeshExecutableFastpathData")
    run, miss = doubler()
    assert [float(run(x)[0][0]) for x in (1.0, 2.0, 3.0)] == [2, 4, 6]
    assert len(miss.calls) == 1


def test_sharded_arguments() -> None:
    if len(jax.devices()) < 4:
        pytest.skip("fewer than four devices")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("x", "y"))
    named = lambda *parts: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*parts))
    run, miss = doubler()
    for sharding in (named("x", "y"), named(("x", "y")), named(), named(None, "x")):
        x = jax.device_put(jnp.arange(32.0).reshape(4, 8), sharding)
        for _ in range(2):
            ours, theirs = run(x, 1.0)[0][0], jax.jit(same)(x, 1.0)[0][0]
            assert ours.sharding == theirs.sharding and ours.committed
            np.testing.assert_array_equal(ours, theirs)
    assert len(miss.calls) == 4


def test_arguments_that_are_not_read_are_not_handed_over() -> None:
    """An argument nobody reads costs no transfer, and a donated one stays."""

    def f(a: Any, b: Any, c: Any) -> Any:
        return b * 2

    def arrays() -> list[Any]:
        return [jnp.full(4, float(i)) for i in range(3)]

    for keep_unused in (False, True):
        jitted = covector.jit(f, donate_argnums=0, keep_unused=keep_unused)
        for _ in range(2):  # the second time from C++
            a, b, c = arrays()
            np.testing.assert_array_equal(jitted(a, b, c), np.full(4, 2.0))
            assert (a.is_deleted(), b.is_deleted(), c.is_deleted()) == (keep_unused, False, False)
    assert read_inputs(covector.make_ir(f)(*arrays()).main) == (False, True, False)
    no_inputs = covector.jit(lambda x: 3.0)
    assert [float(no_inputs(1.0)), float(no_inputs(np.ones(3)))] == [3.0, 3.0]
