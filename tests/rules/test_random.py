"""Random numbers: JAX's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import Case, evaluate, f32, laws, u32
from harness_laws import skipped_without_counterpart

import covector
from covector.frontend.avals import key_words, to_type
from covector.frontend.export import eval_graph
from covector.ir.builder import Builder
from covector.ir.errors import InterpretError, MissingRule, TypeRuleError
from covector.ir.graph import Graph, Value
from covector.ir.ops.random import KEY_SHAPES
from covector.ir.primitive import primitive_named
from covector.ir.types import ExtendedDtype, TensorType
from covector.lowering.emit import lower_graph
from covector.lowering.execute import compile_module
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph

IMPLEMENTATIONS = {
    "fry": "threefry2x32", "rbg": "rbg", "urbg": "unsafe_rbg", "fry4": "threefry4x32",
    "phx2": "philox2x32", "phx4": "philox4x32",
}  # fmt: skip
TAGS = pytest.mark.parametrize(
    "tag",
    [
        pytest.param(tag, marks=[] if tag == "fry" else [pytest.mark.slow])
        for tag in IMPLEMENTATIONS
    ],
)
SHAPES = [(), (3,), (2, 1), (0,)]


def make_keys(tag: str, *shape: int) -> Any:
    words = np.random.default_rng(len(shape)).integers(
        0, 2**32, (*shape, *KEY_SHAPES[tag]), np.uint32
    )
    return jax.random.wrap_key_data(jnp.asarray(words), impl=IMPLEMENTATIONS[tag])


def program(name: str, *args: Any, **params: Any) -> Graph:
    """One equation."""
    return programs((name, args, params))[0]


Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def programs(*calls: Call) -> tuple[Graph, list[Any]]:
    """Many equations in one graph, to be compiled at once, and its arguments."""
    b = Builder()
    inputs, outputs, arguments = [], [], []
    for name, args, params in calls:
        values = [Value(to_type(jax.typeof(x))) for x in args]
        outputs += b.emit(primitive_named(name), *values, **params)
        inputs += values
        arguments += args
    return b.graph(inputs, outputs, calls[0][0]), arguments


def call(name: str, *args: Any, **params: Any) -> Call:
    with jax.enable_x64(True):
        return name, tuple(map(jnp.asarray, args)), params


def words(x: Any) -> np.ndarray[Any, Any]:
    """Arrays as they are; keys, of JAX or of the interpreter, as words."""
    if isinstance(x, np.ndarray):
        return x[x.dtype.names[0]] if x.dtype.names else x
    return key_words(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


def compiled(graph: Graph, *args: Any) -> list[Any]:
    made = lower_graph(graph)
    executable = compile_module(
        made.mlir_module, name="f", in_types=made.in_types, out_types=made.out_types
    )
    return list(executable.call(*args))


def assert_as_jax(*calls: Call) -> None:
    """Interpreted and compiled, the bits are JAX's."""
    graph, args = programs(*calls)
    with jax.enable_x64(True):
        want = jax.jit(lambda *xs: eval_graph(graph, xs))(*args)
        made = [evaluate(graph, args), compiled(graph, *args)]
    for got in made:
        for y, g, w in zip(graph.outputs, got, want, strict=True):
            assert words(g).dtype == words(w).dtype, y
            np.testing.assert_array_equal(words(g), words(w), err_msg=str(y))


# -- keys and bits -------------------------------------------------------------------------------


@TAGS
def test_keys(tag: str) -> None:
    """Seeding, splitting, folding in, wrapping."""
    seeds = np.array([0, 1, -1, 7, 2**40 - 3])
    data = np.arange(6, dtype=np.uint32).reshape(2, 3) * np.uint32(2**31 - 1)
    key, keys = make_keys(tag), make_keys(tag, 2, 3)
    assert_as_jax(
        *(
            call("random_seed", seeds.astype(dtype), impl=tag)
            for dtype in ("int32", "uint32", "int64", "uint8")
        ),
        call("random_seed", seeds[2], impl=tag),
        *(call("random_split", key, shape=shape) for shape in SHAPES),
        *(call("random_split", make_keys(tag, 2, 1), shape=shape) for shape in SHAPES),
        call("random_fold_in", key, data[0, 1]),
        call("random_fold_in", key, data),
        call("random_fold_in", keys, data),
        call("random_fold_in", keys, data[0, 1]),
        call("random_fold_in", keys, data[:1]),
        call("random_unwrap", keys),
        call("random_clone", keys),
        call("random_wrap", jax.random.key_data(keys), impl=tag),
    )


@TAGS
def test_bits(tag: str) -> None:
    assert_as_jax(
        *(
            call("random_bits", key, bit_width=width, shape=shape)
            for key in (make_keys(tag), make_keys(tag, 2))
            for width in (8, 16, 32, 64)
            for shape in [(), (2, 3)]
        )
    )


@pytest.mark.parametrize("tag", ["fry", pytest.param("rbg", marks=pytest.mark.slow)])
def test_numbered_in_order(tag: str) -> None:
    """Without jax_threefry_partitionable."""
    keys = make_keys(tag, 2)
    every = [{"shape": shape, "partitionable": False} for shape in [(5,), (2, 3)]]
    assert_as_jax(
        *(call("random_split", keys, **params) for params in every),
        *(
            call("random_bits", keys, bit_width=width, **params)
            for params in every
            for width in (8, 16, 32, 64)
        ),
    )


HASHES = {"threefry2x32": 4, "threefry4x32": 8, "philox2x32": 3, "philox4x32": 6}


@pytest.mark.parametrize("name", HASHES)
def test_hashes(name: str) -> None:
    rng = np.random.default_rng(0)
    operands = [rng.integers(0, 2**32, (2, 3), np.uint32) for _ in range(HASHES[name])]
    with skipped_without_counterpart():
        assert_as_jax(
            call(name, *operands),
            call(name, *(x[0, 0] for x in operands)),
            call(name, *(x[:0] for x in operands)),
        )


def test_hash_operands_broadcast() -> None:
    rng = np.random.default_rng(0)
    k0, k1, x0, x1 = (rng.integers(0, 2**32, (2, 3), np.uint32) for _ in range(4))
    full = [np.full_like(k0, k0[0, 0]), np.broadcast_to(k1[:1], (2, 3)), x0, x1]
    want = evaluate(program("threefry2x32", *full), full)
    mixed = [jnp.asarray(x) for x in (k0[0, 0], k1[:1], x0, x1)]
    graph = program("threefry2x32", *mixed)
    for got in (evaluate(graph, mixed), compiled(graph, *mixed)):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("algorithm", ["RNG_DEFAULT", "RNG_PHILOX", "RNG_THREE_FRY"])
def test_rng_bit_generator(algorithm: str) -> None:
    key = np.array([1, 2**32 - 5, 3, 2**31], np.uint32)
    last = np.full(2, 2**64 - 1, np.uint64)
    assert_as_jax(
        call("iota_2x32_shape", shape=(2, 5)),
        *(
            call(
                "rng_bit_generator", state, shape=shape, dtype=np.dtype(dtype), algorithm=algorithm
            )
            for dtype in ("uint8", "uint32", "uint64", "int32")
            for state, shape in [
                (key, ()),
                (key, (3, 5)),
                (key, (4, 3)),
                (last, (9,)),
                (key, (0, 2)),
            ]
        ),
    )


def test_rng_uniform() -> None:
    graph = program("rng_uniform", np.float32(2), np.float32(3), shape=(100,))
    for got in (evaluate(graph, [2, 3]), compiled(graph, np.float32(2), np.float32(3))):
        x = np.asarray(got[0])
        assert x.dtype == np.float32 and x.min() >= 2 and x.max() <= 3 and x.std() > 0.1


# -- transformations -----------------------------------------------------------------------------


@TAGS
def test_batch_as_jax(tag: str) -> None:
    def sample(key: Any, x: Any) -> Any:
        # One hash deep: XLA takes minutes for a chain of Threefry-4x32 in some versions.
        k1, k2 = jax.random.split(key)
        return k1, k2, jax.random.fold_in(key, 3), jax.random.uniform(key, (3,)) * x

    keys, x = make_keys(tag, 5), jnp.arange(5.0)
    graph = covector.make_ir(sample)(keys[0], x[0]).main
    for flags in [(True, False), (True, True)]:
        axes = [0 if f else None for f in flags]
        args = [keys, x if flags[1] else x[0]]
        batched, _ = batch_graph(graph, flags, 5, (True,) * 4)
        want = jax.jit(jax.vmap(sample, in_axes=axes))(*args)
        for got in (evaluate(batched, args), compiled(batched, *args)):
            for g, w in zip(got, want, strict=True):
                np.testing.assert_array_equal(words(g), words(w))


def test_rng_bit_generator_batches_as_in_jax() -> None:
    keys = np.arange(12, dtype=np.uint32).reshape(3, 4)
    graph = program("rng_bit_generator", jnp.asarray(keys[0]), shape=(2,), dtype=np.dtype("uint32"))
    batched, _ = batch_graph(graph, [True], 3, [True, True])
    want = jax.vmap(lambda key: jax.lax.rng_bit_generator(key, (2,)))(keys)
    for g, w in zip(evaluate(batched, [keys]), want, strict=True):
        np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize("log_space", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gamma(log_space: bool) -> None:
    """Equal to rounding, since logarithms and powers are; so is the derivative."""
    keys, a = make_keys("fry", 2), np.array([[0.1, 0.5, 1.0], [3.0, 10.0, 0.3]])
    with jax.enable_x64(True):
        graph = program("random_gamma", keys, jnp.asarray(a), log_space=log_space)

        def sample(alpha: Any) -> Any:
            return eval_graph(graph, [keys, alpha])[0]

        want, dwant = jax.jit(lambda t: jax.jvp(sample, (a,), (t,)))(np.ones_like(a))
        np.testing.assert_allclose(compiled(graph, keys, a)[0], want, rtol=1e-12)
    pushed, _ = jvp_graph(graph, [False, True])
    x, dx = evaluate(pushed, [keys, a, np.ones_like(a)])
    np.testing.assert_allclose(x, want, rtol=1e-10)
    np.testing.assert_allclose(dx, dwant, rtol=1e-6)


def test_gamma_batches() -> None:
    a = jnp.array([0.5, 2.0, 7.0])
    graph = program("random_gamma", make_keys("fry"), a)
    batched, _ = batch_graph(graph, [True, False], 4, [True])
    (got,) = evaluate(batched, [make_keys("fry", 4), a])
    want = jax.vmap(lambda key: eval_graph(graph, [key, a])[0])(make_keys("fry", 4))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_bits_carry_no_tangent() -> None:
    def sample(key: Any, x: Any) -> Any:
        return jax.random.normal(key, (3,)) * x

    key, x = make_keys("fry"), jnp.arange(3.0)
    slope = covector.jvp(lambda x: sample(key, x), (x,), (jnp.ones(3),))[1]
    np.testing.assert_allclose(slope, jax.random.normal(key, (3,)), rtol=1e-6)


# -- keys as values ------------------------------------------------------------------------------


@TAGS
def test_shape_operations_of_keys(tag: str) -> None:
    def shuffle(keys: Any, i: Any) -> Any:
        rows = jnp.concatenate([keys[1:], keys[:1]]).reshape(3, 2).T
        return rows, rows[i], jnp.stack([keys[0], keys[1]]), jnp.where(i > 0, keys[0], keys[1])

    keys, i = make_keys(tag, 2, 3), jnp.int32(1)
    graph = covector.make_ir(shuffle)(keys, i).main
    want = shuffle(keys, i)
    for got in (evaluate(graph, [keys, i]), compiled(graph, keys, i)):
        for g, w in zip(got, want, strict=True):
            np.testing.assert_array_equal(words(g), words(w))


def test_captured_key() -> None:
    key = make_keys("fry")

    def sample(x: Any) -> Any:
        return x + jax.random.uniform(key, (3,))

    x = jnp.arange(3.0)
    module = covector.make_ir(sample)(x)
    assert str(covector.parse(str(module))) == str(module)
    np.testing.assert_array_equal(module.run(x), sample(x))
    np.testing.assert_array_equal(module.interpret(x)[0], sample(x))


def test_interpreter_takes_words() -> None:
    graph = program("random_bits", make_keys("fry", 2), shape=(3,))
    keys = make_keys("fry", 2)
    np.testing.assert_array_equal(evaluate(graph, [key_words(keys)])[0], evaluate(graph, [keys])[0])
    with pytest.raises(InterpretError, match="give its words"):
        evaluate(graph, [np.zeros((2, 3), np.uint32)])


# -- refusals and platforms ----------------------------------------------------------------------

KEY = TensorType((), ExtendedDtype("key<fry>"))


@pytest.mark.parametrize(
    ("name", "types", "params", "claim"),
    [
        ("random_bits", [u32(2)], {"shape": ()}, "takes typed keys, not"),
        ("random_bits", [KEY], {"shape": (), "bit_width": 7}, "makes 8, 16, 32 or 64, not 7"),
        ("random_wrap", [u32(3)], {"impl": "fry"}, "is an array u32"),
        ("random_wrap", [u32(2)], {"impl": "fri"}, "no random number generator 'fri'"),
        ("random_seed", [f32()], {"impl": "fry"}, "does not take f32"),
        ("threefry2x32", [u32(2)] * 3, {}, "takes 4 operands"),
        ("random_gamma", [KEY, f32(2), f32()], {}, "takes 2 operands"),
        ("random_gamma", [TensorType((3,), KEY.dtype), f32(2)], {}, "a key for each row"),
    ],
)
def test_refused(name: str, types: Any, params: Any, claim: str) -> None:
    with pytest.raises(TypeRuleError, match=claim):
        Builder().emit(primitive_named(name), *map(Value, types), **params)


def test_unbatchable() -> None:
    graph = program("rng_uniform", np.float32(0), np.float32(1), shape=(2,))
    with pytest.raises(MissingRule, match=r"draw with jax\.random"):
        batch_graph(graph, [True, False], 2)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
@TAGS
def test_lowers_everywhere(tag: str, platform: str) -> None:
    graph = program("random_bits", make_keys(tag, 2), shape=(3,))
    assert "ui32" in lower_graph(graph, (platform,)).as_text()


@laws([Case("iota_2x32_shape", [], {"shape": (3,)}, batch=False)])
def test_law(case: Case, law: Callable[[Case], None]) -> None:
    law(case)
