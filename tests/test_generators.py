"""Random number generators of a user's own, by jax.extend.random.define_prng_impl."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.interpret import evaluate

X = jnp.arange(1.0, 4.0)


def fry(words: Any) -> Any:
    return jax.random.wrap_key_data(words, impl="threefry2x32")


def pair(make: Callable[[Any], Any], key: Any) -> Any:
    """What both halves of a key of two by two words become."""
    return jnp.stack([jax.random.key_data(make(fry(half))) for half in key], -2)


def generator(salt: int) -> Any:
    """A generator whose keys are pairs of JAX's usual ones."""

    def seed(number: Any) -> Any:
        keys = [jax.random.key(number ^ s, impl="threefry2x32") for s in (0, salt)]
        return jnp.stack([jax.random.key_data(key) for key in keys])

    return jax.extend.random.define_prng_impl(
        key_shape=(2, 2),
        seed=seed,
        split=lambda key, shape: pair(lambda half: jax.random.split(half, shape), key),
        fold_in=lambda key, data: pair(lambda half: jax.random.fold_in(half, data), key),
        random_bits=lambda key, width, shape: (
            jax.random.bits(fry(key[0]), shape, f"uint{width}")
            ^ jax.random.bits(fry(key[1]), shape, f"uint{width}")
        ),
        tag="pair?",
    )


GENERATORS = generator(3), generator(5)  # of the same tag


def noisy(x: Any, seed: Any, impl: Any) -> Any:
    first, second = jax.random.split(jax.random.key(seed, impl=impl))
    shift = jax.random.gamma(jax.random.fold_in(first, 3), jnp.exp(x))
    return jnp.sum(x * jax.random.normal(second, x.shape) + shift)


def of_key(x: Any, key: Any) -> Any:
    return jnp.sum(jnp.sin(x) * jax.random.uniform(key, x.shape))


def captured(m: Any, key: Any) -> Any:
    return m.jit(lambda: m.grad(of_key)(X, key))()


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda m, impl: m.grad(noisy)(X, 7, impl),
    "jit": lambda m, impl: m.jit(m.grad(noisy), static_argnums=2)(X, 7, impl),
    "mapped seeds": lambda m, impl: m.vmap(lambda s: m.grad(noisy)(X, s, impl))(jnp.arange(3)),
    "mapped keys": lambda m, impl: m.vmap(m.grad(of_key), in_axes=(None, 0))(
        X, jax.random.split(jax.random.key(1, impl=impl), 2)
    ),
    "captured key": lambda m, impl: captured(m, jax.random.key(1, impl=impl)),
    "keys leave": lambda m, impl: jax.random.key_data(
        m.jit(lambda s: jax.random.split(jax.random.key(s, impl=impl), (2, 3)))(4)
    ),
    "keys in a loop": lambda m, impl: m.grad(
        lambda x: jax.lax.fori_loop(
            0,
            3,
            lambda i, y: y * of_key(x, jax.random.fold_in(jax.random.key(2, impl=impl), i)),
            1.0,
        )
    )(X),
}


@pytest.mark.parametrize("impl", GENERATORS)
@pytest.mark.parametrize("name", CALLS)
def test_as_in_jax(name: str, impl: Any) -> None:
    np.testing.assert_allclose(
        CALLS[name](covector, impl), CALLS[name](jax, impl), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("impl", GENERATORS)
def test_text_and_meaning(impl: Any) -> None:
    """The text names the generator, generators of one tag apart; the interpreter draws by it."""
    seed = jnp.int32(7)
    module = covector.make_ir(lambda x, seed: of_key(x, jax.random.key(seed, impl=impl)))(X, seed)
    assert covector.parse(str(module)) == module
    wanted = of_key(X, jax.random.key(seed, impl=impl))
    np.testing.assert_allclose(evaluate(module.main, [X, seed])[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(module.run(X, seed), wanted, rtol=1e-6)


def test_generators_of_one_tag_are_apart() -> None:
    names = {str(covector.make_ir(lambda k: k)(jax.random.key(0, impl=g))) for g in GENERATORS}
    assert len(names) == 2
