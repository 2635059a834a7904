"""What holds for every program: covector computes what JAX does, transformations included.

A law is written once, for an `api` that is `jax` or `covector`. JAX's word is one compiled
function of all laws; covector's is each law's program, evaluated by the interpreter. JAX's results
are computed again at inputs that differ by a few parts in 10^5: where that matters, near kinks and
jumps, results are not determined better than so, and are not compared more closely.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from generated import BF16, F16, ROWS, Program
from generated_axis import AXIS, LOG

import covector
from covector.frontend.execute import execute
from covector.ir.parser import parse
from covector.passes import run_passes

Array = np.ndarray[Any, Any]

RTOL = {F16: 2e-2, BF16: 1e-1}
"""By the least precise dtype in a program; 2e-4 for others."""
WIDE = ("float64", "int64", "uint64", "complex128")
COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
MISSING = (
    "Reverse-mode differentiation", "not implemented", "not supported", "custom_vjp",
    "forward-mode", "do not support JVP", "Cannot `vmap` ordered", "Linearization failed",
    "same number of batch dimensions",  # of qr with pivoting
    "same tree structure as init_values",  # of reduce_window, where one of two has no tangent
    "input and carry output must have",  # of threefry2x32 over operands of which some are mapped
)  # fmt: skip
"""What JAX says of transformations that it does not have."""
CLEAN_UP = ("dce", "cse", "fold", "inline")


class Failure(AssertionError):
    """A law that does not hold."""


def is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))  # NumPy does not know of bfloat16


class Subject:
    """A program as a function, with tangents, cotangents and rows for its example inputs.

    One with collectives is a function of rows: each is given the example inputs, nearly.
    """

    def __init__(self, program: Program) -> None:
        self.module = program.module
        function = program.module.as_function()
        self.one: Callable[..., list[Any]] = lambda *xs: jax.tree.leaves(function(*xs))
        self.has_axis = program.has_axis
        rng = np.random.default_rng(7)
        self.inputs = [np.asarray(x) for x in program.inputs]
        if self.has_axis:
            self.inputs = [self._rows(rng, x) for x in self.inputs]
        self.active = [is_inexact(x) for x in self.inputs]
        types = program.module.main.output_types
        outputs = [self._struct(t) for t in types]
        self.differentiable = [is_inexact(t) for t in outputs]
        self.tangents = [normal(rng, x) for x in self.floats(self.inputs)]
        self.cts = [normal(rng, t) for t in outputs if is_inexact(t)]
        self.rows = [self._rows(rng, x) for x in self.inputs]
        rtols = [RTOL.get(dtype, 2e-4) for dtype in program.dtypes]
        self.rtol = max(rtols)

    def _struct(self, type: Any) -> jax.ShapeDtypeStruct:
        shape = (ROWS, *type.shape) if self.has_axis else type.shape
        return jax.ShapeDtypeStruct(shape, type.dtype)

    def _rows(self, rng: np.random.Generator, x: Array) -> Array:
        if not is_inexact(x):
            return np.stack([x, np.flip(x)])
        return np.stack([x, x * (1 + 0.1 * rng.uniform(-1, 1, x.shape))]).astype(x.dtype)

    def f(self, api: Any, *xs: Any) -> list[Any]:
        if self.has_axis:
            ys: list[Any] = api.vmap(self.one, axis_name=AXIS)(*xs)
            return ys
        return self.one(*xs)

    def floats(self, xs: Sequence[Any]) -> list[Any]:
        return [x for x, active in zip(xs, self.active, strict=True) if active]

    def smooth(self, api: Any, xs: Sequence[Any]) -> Callable[..., list[Any]]:
        """The inexact outputs as a function of the inexact inputs; the others are as in xs."""

        def g(*floats: Any) -> list[Any]:
            given = iter(floats)
            ys = self.f(
                api, *(next(given) if a else x for x, a in zip(xs, self.active, strict=True))
            )
            return [y for y, d in zip(ys, self.differentiable, strict=True) if d]

        return g

    def loss(self, api: Any, xs: Sequence[Any], cts: Sequence[Any]) -> Callable[[list[Any]], Any]:
        """A real function of the inexact inputs."""

        def h(floats: list[Any]) -> Any:
            ys = self.smooth(api, xs)(*floats)
            return sum(jnp.sum(jnp.real(y * ct)) for y, ct in zip(ys, cts, strict=True))

        return h

    def arguments(self) -> tuple[Any, ...]:
        """What laws take: inputs, tangents, cotangents, rows."""
        return self.inputs, self.tangents, self.cts, self.rows


def normal(rng: np.random.Generator, like: Any) -> Array:
    x = rng.normal(size=like.shape)
    if np.issubdtype(like.dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=like.shape)
    return np.asarray(x).astype(like.dtype)


# -- laws: (api, subject, inputs, tangents, cts, rows) -> results ----------------------------------


def value(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return s.f(api, *xs)


def jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(s.smooth(api, xs), s.floats(xs), ts)


def vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    ys, pull = api.vjp(s.smooth(api, xs), *s.floats(xs))
    return ys, pull(cts)


def vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vmap(partial(s.f, api))(*rows)


def vmap_of_first(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    in_axes = (0, *(None for _ in xs[1:]))
    return api.vmap(partial(s.f, api), in_axes=in_axes, out_axes=0)(rows[0], *xs[1:])


def vmap_of_rest(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    if len(xs) == 1:
        return ()
    return api.vmap(partial(s.f, api), in_axes=(None, *(0 for _ in xs[1:])))(xs[0], *rows[1:])


def vmap_of_grad(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vmap(api.grad(s.loss(api, xs, cts)))(s.floats(rows))


def grad_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.grad(lambda floats: jnp.sum(api.vmap(s.loss(api, xs, cts))(floats)))(s.floats(rows))


def pushed(api: Any, s: Subject, xs: Any, ts: Any) -> Callable[..., list[Any]]:
    """The tangents as a function of the inexact inputs."""
    return lambda *floats: api.jvp(s.smooth(api, xs), list(floats), ts)[1]


def pulled(api: Any, s: Subject, xs: Any, cts: Any) -> Callable[..., tuple[Any, ...]]:
    """The cotangents as a function of the inexact inputs."""
    return lambda *floats: api.vjp(s.smooth(api, xs), *floats)[1](cts)


def over_rows(api: Any, s: Subject, rows: Any) -> Callable[..., list[Any]]:
    """The inexact outputs as a function of the inexact inputs, of all rows."""

    def g(*floats: Any) -> list[Any]:
        given = iter(floats)
        full = [next(given) if a else x for x, a in zip(rows, s.active, strict=True)]
        ys = api.vmap(partial(s.f, api))(*full)
        return [y for y, d in zip(ys, s.differentiable, strict=True) if d]

    return g


def twice(xs: Any, axis: int = 0) -> list[Any]:
    return [jnp.stack([x, x], axis) for x in xs]


def jvp_of_jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(pushed(api, s, xs, ts), s.floats(xs), ts)


def jvp_of_vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(pulled(api, s, xs, cts), s.floats(xs), ts)


def jvp_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.jvp(over_rows(api, s, rows), s.floats(rows), twice(ts))


def vjp_of_jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vjp(pushed(api, s, xs, ts), *s.floats(xs))[1](cts)


def vjp_of_vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vjp(pulled(api, s, xs, cts), *s.floats(xs))[1](tuple(ts))


def vjp_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vjp(over_rows(api, s, rows), *s.floats(rows))[1](twice(cts))


def vmap_of_jvp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    return api.vmap(pushed(api, s, xs, ts))(*s.floats(rows))


def vmap_of_vjp(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    back = api.vmap(lambda floats, cts: pulled(api, s, xs, cts)(*floats), in_axes=(0, -1))
    return back(s.floats(rows), twice(cts, -1))


def vmap_of_vmap(api: Any, s: Subject, xs: Any, ts: Any, cts: Any, rows: Any) -> Any:
    inner = api.vmap(partial(s.f, api))
    return api.vmap(inner, in_axes=-1, out_axes=-1)(*twice(rows, -1))


BATCHING = (vmap, vmap_of_first, vmap_of_rest, vmap_of_vmap)
DERIVATIVES = (jvp, vjp, vmap_of_grad, grad_of_vmap)
PAIRS = (
    jvp_of_jvp, jvp_of_vjp, jvp_of_vmap, vjp_of_jvp, vjp_of_vjp, vjp_of_vmap,
    vmap_of_jvp, vmap_of_vjp,
)  # fmt: skip
"""All pairs of the three, beside `vmap_of_vmap`."""
Law = Callable[..., Any]


# -- comparing with JAX ----------------------------------------------------------------------------


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
    """Callbacks are called as often as JAX calls them, with the same values, in the same order."""
    arguments = s.arguments()
    for law in laws:
        logs = []
        for api in (jax, covector):
            LOG.clear()
            jax.block_until_ready(api.jit(partial(law, api, s))(*arguments))
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
