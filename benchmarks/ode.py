"""ODE solves and their derivatives, ours beside `jax.experimental.ode` and Diffrax, in one process.

    python benchmarks/ode.py [--rounds 20] [SYSTEM...]

Four systems: Lorenz (1000 outputs), a linear one of 100 dimensions, Van der Pol (stiff), a neural
ODE. Four tasks: the solution, its jvp along a random direction of all arguments, its vjp of a
random cotangent, the Hessian of half its square times a random direction (forward over reverse;
reverse over reverse for JAX's, which has no forward mode). Everybody is given the loosest tolerance
at which the result is as accurate as is asked (that accuracy, a tenth of it, ...), measured against
a solve with a tight one; then all of a task are timed in turn. Times are medians; beside them the
median over rounds of the ratio to the first of ours within a round. Memory is XLA's own figure for
temporaries. Diffrax's adjoints: "checkpoint" is RecursiveCheckpointAdjoint, its default;
"backsolve", "direct", "forward".
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.ode import odeint as jax_odeint

import covector

jax.config.update("jax_enable_x64", True)

TASKS = ("solve", "jvp", "vjp", "hvp")


@dataclass(frozen=True)
class System:
    """dy/dt = f(y, t, *args). `accuracy` is what is asked, relative to the largest number."""

    f: Callable[..., Any]
    y0: Any
    args: tuple[Any, ...]
    ts: Any
    accuracy: float
    is_stiff: bool = False


def lorenz(y: Any, t: Any, rho: Any, sigma: Any, beta: Any) -> Any:
    x, y_, z = y
    return jnp.array([sigma * (y_ - x), x * (rho - z) - y_, x * y_ - beta * z])


def linear(y: Any, t: Any, a: Any) -> Any:
    return a @ y


def van_der_pol(y: Any, t: Any, mu: Any) -> Any:
    return jnp.array([y[1], mu * (1 - y[0] * y[0]) * y[1] - y[0]])


def neural(y: Any, t: Any, layers: Any) -> Any:
    for w, b in layers[:-1]:
        y = jnp.tanh(y @ w + b)
    w, b = layers[-1]
    return y @ w + b


def systems() -> dict[str, System]:
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> Any:
        return jnp.asarray(scale * rng.normal(size=shape))

    sizes = [8, 64, 64, 8]
    layers = [
        (normal(n, m, scale=n**-0.5), normal(m, scale=0.1)) for n, m in itertools.pairwise(sizes)
    ]
    return {
        "lorenz": System(
            lorenz, jnp.array([5.0, 5.0, 5.0]), (28.0, 10.0, 8 / 3), jnp.linspace(0, 1, 1000), 1e-6
        ),
        "linear": System(
            linear,
            normal(100),
            (normal(100, 100, scale=0.1) - jnp.eye(100),),
            jnp.array([0.0, 1.0]),
            1e-6,
        ),
        "van der pol": System(
            van_der_pol, jnp.array([2.0, 0.0]), (1000.0,), jnp.linspace(0, 3, 10), 1e-4, True
        ),
        "neural": System(neural, normal(64, 8), (layers,), jnp.linspace(0, 1, 5), 1e-5),
    }


# -- contestants -----------------------------------------------------------------------------------

Solver = Callable[[System, float, Any, tuple[Any, ...]], Any]
"""(system, tolerance, y0, args) -> ys."""


def ours(adjoint: str) -> Solver:
    def solve(s: System, tolerance: float, y0: Any, args: tuple[Any, ...]) -> Any:
        if not s.is_stiff:
            return covector.odeint(
                s.f,
                y0,
                s.ts,
                *args,
                rtol=tolerance,
                atol=tolerance,
                adjoint=adjoint,
                max_steps=4096,
            )
        return covector.solve_ode(
            s.f, y0, *args, t0=s.ts[0], t1=s.ts[-1], saveat=s.ts, method="kvaerno5",
            rtol=tolerance, atol=tolerance, max_steps=4096,
        ).ys  # fmt: skip

    return solve


def theirs(s: System, tolerance: float, y0: Any, args: tuple[Any, ...]) -> Any:
    return jax_odeint(s.f, y0, s.ts, *args, rtol=tolerance, atol=tolerance)


def by_diffrax(adjoint: Any) -> Solver:
    def solve(s: System, tolerance: float, y0: Any, args: tuple[Any, ...]) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: s.f(y, t, *args)),
            diffrax.Kvaerno5() if s.is_stiff else diffrax.Dopri5(),
            s.ts[0],
            s.ts[-1],
            None,
            y0,
            args,
            saveat=diffrax.SaveAt(ts=s.ts),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            adjoint=adjoint,
            max_steps=4096,
        ).ys

    return solve


CONTESTANTS: dict[str, tuple[Solver, Callable[..., Any], Any, tuple[str, ...]]] = {
    "covector direct": (ours("direct"), covector.jit, covector, TASKS),
    "covector backsolve": (ours("backsolve"), covector.jit, covector, ("jvp", "vjp", "hvp")),
    "jax odeint": (theirs, jax.jit, jax, ("solve", "vjp", "hvp")),
    "diffrax checkpoint": (
        by_diffrax(diffrax.RecursiveCheckpointAdjoint()), jax.jit, jax, ("solve", "vjp"),
    ),
    "diffrax backsolve": (by_diffrax(diffrax.BacksolveAdjoint()), jax.jit, jax, ("vjp",)),
    "diffrax direct": (
        by_diffrax(diffrax.DirectAdjoint()), jax.jit, jax, ("jvp", "vjp", "hvp"),
    ),
    "diffrax forward": (by_diffrax(diffrax.ForwardMode()), jax.jit, jax, ("solve", "jvp")),
}  # fmt: skip


def contestants(s: System, task: str) -> Iterator[str]:
    for name, (*_, tasks) in CONTESTANTS.items():
        explicit_only = name in ("covector backsolve", "jax odeint", "diffrax backsolve")
        if s.is_stiff and explicit_only:
            continue
        if task in tasks:
            yield name


def task_of(name: str, s: System, task: str, tolerance: float) -> Callable[..., Any]:
    """The compiled task, of y0, args and a direction or cotangent."""
    solver, jit, ad, _ = CONTESTANTS[name]

    def solve(y0: Any, args: tuple[Any, ...]) -> Any:
        return solver(s, tolerance, y0, args)

    run: Callable[..., Any]
    if task == "solve":
        run = lambda y0, args, v: solve(y0, args)  # noqa: E731
    elif task == "jvp":
        run = lambda y0, args, v: ad.jvp(solve, (y0, args), v)[1]  # noqa: E731
    elif task == "vjp":
        run = lambda y0, args, v: ad.vjp(solve, y0, args)[1](v)  # noqa: E731
    else:
        run = hessian_product(solve, ad, is_reverse=name == "jax odeint")
    made: Callable[..., Any] = jit(run)
    return made


def hessian_product(solve: Callable[..., Any], ad: Any, is_reverse: bool) -> Callable[..., Any]:
    def loss(y0: Any, args: tuple[Any, ...]) -> Any:
        return jnp.sum(jnp.square(solve(y0, args))) / 2

    gradient = ad.grad(loss, (0, 1))

    def along(y0: Any, args: tuple[Any, ...], v: Any) -> Any:
        pairs = zip(jax.tree.leaves(gradient(y0, args)), jax.tree.leaves(v), strict=True)
        return sum(jnp.vdot(g, d) for g, d in pairs)

    if is_reverse:
        return lambda y0, args, v: ad.grad(along, (0, 1))(y0, args, v)
    return lambda y0, args, v: ad.jvp(gradient, (y0, args), v)[1]


# -- measurement -----------------------------------------------------------------------------------


def random_like(tree: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=jnp.shape(x))), tree)


def error(got: Any, want: Any) -> float:
    """The largest error relative to the largest number of its leaf."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    return max(float(np.max(np.abs(x - y)) / np.max(np.abs(y))) for x, y in pairs)


@dataclass
class Entry:
    name: str
    run: Callable[..., Any]
    tolerance: float
    error: float
    memory: int
    times: list[float]


def prepare(name: str, s: System, task: str, point: tuple[Any, ...], want: Any) -> Entry | None:
    """The contestant at the loosest tolerance that is accurate enough."""
    for tolerance in (s.accuracy * 10.0**-k for k in range(6)):
        run = task_of(name, s, task, tolerance)
        try:
            found = error(run(*point), want)
        except RuntimeError:  # more steps than there is room for
            return None
        if found <= s.accuracy:
            compiled = run.lower(*point).compile()  # type: ignore[attr-defined]
            memory = compiled.memory_analysis().temp_size_in_bytes
            return Entry(name, run, tolerance, found, memory, [])
    return None


def compare(title: str, s: System, task: str, rounds: int) -> None:
    ys = ours("direct")(s, 1e-11, s.y0, s.args)
    direction = random_like((s.y0, s.args), 1)
    v = {"solve": 0.0, "jvp": direction, "vjp": random_like(ys, 2), "hvp": direction}[task]
    point = (s.y0, s.args, v)
    want = task_of("covector direct", s, task, 1e-11)(*point)
    entries = [prepare(name, s, task, point, want) for name in contestants(s, task)]
    measure([e for e in entries if e], point, rounds)
    print(f"{title}, {task}, error at most {s.accuracy:g}")
    first = next(e for e in entries if e)
    for e in entries:
        if e:
            ratio = statistics.median(a / b for a, b in zip(e.times, first.times, strict=True))
            print(
                f"    {e.name:20}{statistics.median(e.times) * 1e3:10.3f} ms  x {ratio:5.2f}"
                f"{e.memory / 1e3:12.1f} kB   error {e.error:.0e} at tolerance {e.tolerance:.0e}",
                flush=True,
            )


def measure(entries: Sequence[Entry], point: tuple[Any, ...], rounds: int) -> None:
    for i in range(rounds + 1):
        for e in entries if i % 2 else reversed(entries):
            start = time.perf_counter()
            jax.block_until_ready(e.run(*point))
            if i:
                e.times.append(time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--task", choices=TASKS)
    options = parser.parse_args()
    for title, s in systems().items():
        if options.systems and title not in options.systems:
            continue
        for task in TASKS:
            if options.task in (None, task):
                compare(title, s, task, options.rounds)


if __name__ == "__main__":
    main()
