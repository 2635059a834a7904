"""Whether a random program obeys all laws: JAX's results, and covector's beside them.

JAX's results are computed again at inputs that differ by a few parts in 10^5: where that matters,
near kinks and jumps, results are not determined better than so, and are not compared more closely.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from generated import Program
from generated_axis import LOG
from generated_laws import (
    BATCHING,
    DERIVATIVES,
    PAIRS,
    Array,
    Law,
    Subject,
    is_inexact,
    jvp,
    value,
    vjp,
    vmap,
)

import covector
from covector.frontend.execute import execute
from covector.ir.parser import parse
from covector.passes import run_passes

WIDE = ("float64", "int64", "uint64", "complex128")
COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
MISSING = (
    "Reverse-mode differentiation", "not implemented", "not supported", "custom_vjp",
    "forward-mode", "do not support JVP", "Cannot `vmap` ordered", "Linearization failed",
    "same number of batch dimensions",  # of qr with pivoting
    "same tree structure as init_values",  # of reduce_window, where one of two has no tangent
    "<class 'NoneType'> and was passed to reduce_sum",  # of pad, of which only the value is linear
    "input and carry output must have",  # of threefry2x32 over operands of which some are mapped
)  # fmt: skip
"""What JAX says of transformations that it does not have."""
CLEAN_UP = ("dce", "cse", "fold", "inline")


class Failure(AssertionError):
    """A law that does not hold."""


def laws_of(s: Subject, pairs: int | None = None) -> list[Law]:
    """The laws that the subject can have; of the pairs of derivatives all, or so many of them."""
    if not (any(s.active) and any(s.differentiable)):
        return [value, *BATCHING]
    chosen = PAIRS
    if pairs is not None:
        first = zlib.crc32(str(s.module).encode())  # other programs have other pairs
        chosen = tuple(PAIRS[(first + 3 * i) % len(PAIRS)] for i in range(pairs))
    return [value, *BATCHING, *DERIVATIVES, *chosen]


def jax_results(s: Subject, laws: Sequence[Law]) -> dict[Law, tuple[list[Array], list[Array]]]:
    """For each law that JAX has: its results, and their sensitivity to the inputs."""
    arguments = s.arguments()
    made = {}
    for law in laws:
        try:
            jaxpr = jax.make_jaxpr(lambda *a, law=law: law(jax, s, *a))(*arguments)
            if "custom_lin[" not in str(jaxpr):  # which JAX does not lower
                made[law] = jaxpr
        except (NotImplementedError, ValueError, TypeError) as error:
            if not _is_missing(error):
                raise
    flat, tree = jax.tree.flatten(arguments)

    try:
        lowered = _lowered(made.values(), flat)
    except TypeError as error:
        if not _is_missing(error):
            raise
        made = {law: jaxpr for law, jaxpr in made.items() if "threefry2x32" not in str(jaxpr)}
        lowered = _lowered(made.values(), flat)
    compiled = lowered.compile(compiler_options=COMPILE)
    want = _arrays(compiled(*flat))
    spread = [[np.zeros(y.shape) for y in ys] for ys in want]
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        step = s.rtol / 20
        moved = jax.tree.unflatten(tree, [_moved(rng, x, step) for x in flat])
        near = _arrays(compiled(*jax.tree.leaves((moved[0], *arguments[1:3], moved[3]))))
        for i, (ys, zs) in enumerate(zip(want, near, strict=True)):
            spread[i] = [
                np.maximum(w, _distance(y, z)) for w, y, z in zip(spread[i], ys, zs, strict=True)
            ]
    return {law: (ys, ws) for law, ys, ws in zip(made, want, spread, strict=True)}


def _lowered(jaxprs: Iterable[Any], leaves: Sequence[Any]) -> Any:
    def everything(*leaves: Any) -> Any:
        return [jax.core.eval_jaxpr(j.jaxpr, j.consts, *leaves) for j in jaxprs]

    return jax.jit(everything, keep_unused=True).lower(*leaves)


def _is_missing(error: Exception) -> bool:
    """Whether JAX says that it has no such transformation."""
    return isinstance(error, NotImplementedError) or any(part in str(error) for part in MISSING)


def _arrays(results: Any) -> list[list[Array]]:
    return [[np.asarray(y) for y in ys] for ys in results]


def _moved(rng: np.random.Generator, x: Array, step: float) -> Array:
    if not is_inexact(x):
        return x
    return np.asarray(x * (1 + step * rng.choice([-1, 1], x.shape))).astype(x.dtype)


def _distance(x: Array, y: Array) -> Array:
    """|x - y|, infinite where one is not finite."""
    wide = np.complex128 if np.iscomplexobj(x) else np.float64
    with np.errstate(all="ignore"):
        apart = np.abs(x.astype(wide) - y.astype(wide))
    return np.where(np.isfinite(apart), apart, np.inf)


def compare(
    name: str, got: Sequence[Any], want: Sequence[Array], spread: Sequence[Array], rtol: float
) -> None:
    """Raise Failure unless results are as close to JAX's as these are determined."""
    if len(got) != len(want):
        raise Failure(f"{name}: {len(got)} results, JAX has {len(want)}")
    for i, (y, z, apart) in enumerate(zip(got, want, spread, strict=True)):
        y = np.asarray(y)
        if y.shape != z.shape or y.dtype != z.dtype:
            raise Failure(f"{name}: result {i} is {y.dtype}{y.shape}, JAX's {z.dtype}{z.shape}")
        scale = np.max(np.abs(z[np.isfinite(z)]), initial=0.0) if is_inexact(z) else 0
        allowed = 5 * apart + (rtol * max(float(scale), 1.0) if is_inexact(z) else 0)
        wrong = (_distance(y, z) > allowed) & (apart < np.inf)
        if np.any(wrong):
            raise Failure(f"{name}: result {i} is\n{y}\nJAX's is\n{z}")


# -- everything ------------------------------------------------------------------------------------


def check(program: Program, xla: bool = False, pairs: int | None = None) -> None:
    """Every law, or with `pairs` that many of the pairs of derivatives.

    With `xla`, what covector compiles is compared for all of them too.
    """
    is_wide = any(str(dtype) in WIDE for dtype in program.dtypes)
    with jax.enable_x64(is_wide or bool(jax.config.jax_enable_x64)):
        _check(program, xla, pairs)


def _check(program: Program, xla: bool, pairs: int | None) -> None:
    check_text(program)
    s = Subject(program)
    arguments = s.arguments()
    leaves = jax.tree.leaves(arguments)
    modules = {}
    wanted = jax_results(
        s, laws_of(s, pairs)
    )  # nothing, where JAX lacks a batch of what is over rows
    for law in wanted:
        made = covector.make_ir(lambda *a, law=law: law(covector, s, *a))(*arguments)
        modules[law] = made.verify()
    for law, (want, spread) in wanted.items():
        name = law.__name__.replace("_", " ")
        close = partial(compare, want=want, spread=spread, rtol=s.rtol)
        close(name, modules[law].interpret(*leaves))
        if xla or law is value:
            close(f"{name} by XLA", execute(modules[law].main, leaves))
        if law is value:
            for step in CLEAN_UP:
                clean = run_passes(modules[law], step).verify()
                close(step, clean.interpret(*leaves))
                if str(run_passes(clean, step)) != str(clean):
                    raise Failure(f"{step} is not idempotent:\n{clean}\n{run_passes(clean, step)}")
    if program.has_effects:
        check_effects(s, [law for law in wanted if law in (value, vmap, jvp, vjp)])


def check_effects(s: Subject, laws: Sequence[Law]) -> None:
    """Callbacks are called as often as JAX calls them, with the same values, in the same order.

    JAX's vjp moves those that see the same in each iteration out of a scan; none may be lost, so
    for vjp they are to be those of the function itself.
    """
    arguments = s.arguments()
    for law in laws:
        logs = []
        for api, asked in ((jax, value if law is vjp else law), (covector, law)):
            LOG.clear()
            jax.block_until_ready(api.jit(partial(asked, api, s))(*arguments))
            jax.effects_barrier()
            logs.append(LOG[:])
        want, got = logs
        if len(got) != len(want) or not all(
            np.allclose(x, y, rtol=20 * s.rtol, atol=20 * s.rtol, equal_nan=True)
            for x, y in zip(got, want, strict=True)
        ):
            raise Failure(f"effects of {law.__name__}:\n{got}\nJAX's are\n{want}")


def check_text(program: Program) -> None:
    """The program is valid, and its text reads back as the same program."""
    text = str(program.module.verify())
    again = parse(text).verify()
    if str(again) != text or again.hash() != program.module.hash():
        raise Failure(f"the text reads back as\n{again}")
