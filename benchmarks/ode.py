"""ODE solves and their derivatives, ours beside `jax.experimental.ode` and Diffrax, in one process.

    python benchmarks/ode.py [--rounds 20] [--task vjp] [--out build/ode.json] [SYSTEM...]
    python benchmarks/ode.py --show docs/ode.json    the tables of results that were saved

Four systems: Lorenz (1000 outputs), a linear one of 100 dimensions, Van der Pol (stiff), a neural
ODE. Four tasks: the solution, its jvp along a random direction of all arguments, its vjp of a
random cotangent, the Hessian of half its square times a random direction (forward over reverse;
reverse over reverse for JAX's, which has no forward mode). Everybody is given the loosest tolerance
at which the result is as accurate as is asked (that accuracy, a tenth of it, ...), measured against
a solve with a tight one; then all of a task are timed in turn. Tolerances that --known results have
are tried first. Times are medians; beside them the median over rounds of the ratio to the first of
ours within a round. Memory is XLA's own figure for temporaries. Diffrax's adjoints: "checkpoint" is
RecursiveCheckpointAdjoint, its default; "backsolve", "direct", "forward".
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.ode import odeint as jax_odeint

import covector

sys.path.insert(0, str(Path(__file__).parent / "suite"))
from results import environment, rounded, save

jax.config.update("jax_enable_x64", True)

TASKS = ("solve", "jvp", "vjp", "hvp")
SAVED = Path(__file__).parent.parent / "docs" / "ode.json"
Known = dict[tuple[str, str, str], float]
"""The tolerance of a system, task and solver."""


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
        run = lambda y0, args, v: solve(y0, args)
    elif task == "jvp":
        run = lambda y0, args, v: ad.jvp(solve, (y0, args), v)[1]
    elif task == "vjp":
        run = lambda y0, args, v: ad.vjp(solve, y0, args)[1](v)
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


def prepare(
    name: str, s: System, task: str, point: tuple[Any, ...], want: Any, known: float | None
) -> Entry | None:
    """The contestant at the loosest tolerance that is accurate enough."""
    tried = [s.accuracy * 10.0**-k for k in range(6)]
    for tolerance in tried if known is None else (known, *tried):
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


def compare(title: str, s: System, task: str, rounds: int, known: Known) -> list[dict[str, Any]]:
    """A row for each contestant that is accurate enough; times in seconds, memory in bytes."""
    ys = ours("direct")(s, 1e-11, s.y0, s.args)
    direction = random_like((s.y0, s.args), 1)
    v = {"solve": 0.0, "jvp": direction, "vjp": random_like(ys, 2), "hvp": direction}[task]
    point = (s.y0, s.args, v)
    want = task_of("covector direct", s, task, 1e-11)(*point)
    prepared = [
        prepare(name, s, task, point, want, known.get((title, task, name)))
        for name in contestants(s, task)
    ]
    entries = [e for e in prepared if e]
    measure(entries, point, rounds)
    first = entries[0].times
    return [
        {
            "system": title, "task": task, "accuracy": s.accuracy, "solver": e.name,
            "median": rounded(statistics.median(e.times)),
            "ratio": rounded(statistics.median(a / b for a, b in zip(e.times, first, strict=True))),
            "memory": e.memory, "error": rounded(e.error), "tolerance": e.tolerance,
        }
        for e in entries
    ]  # fmt: skip


def measure(entries: Sequence[Entry], point: tuple[Any, ...], rounds: int) -> None:
    for i in range(rounds + 1):
        for e in entries if i % 2 else reversed(entries):
            start = time.perf_counter()
            jax.block_until_ready(e.run(*point))
            if i:
                e.times.append(time.perf_counter() - start)


# -- results ---------------------------------------------------------------------------------------


def show(results: dict[str, Any]) -> None:
    """Where, a block for each system and task, and ours beside the better of the others."""
    where = results["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    print(f"{where['date']}, {where['machine']}, {where['cores']} cores, load {where['load']:.1f}")
    print(versions)
    blocks = itertools.groupby(results["rows"], key=lambda r: (r["system"], r["task"]))
    summary = []
    for (system, task), group in blocks:
        rows = list(group)
        print(f"{system}, {task}, error at most {rows[0]['accuracy']:g}")
        for r in rows:
            show_row(r)
        summary.append((f"{system}, {task}", *against_the_better(rows)))
    print("time of ours / time of the better of the others")
    for title, mine, ratio, other in summary:
        print(f"    {title:20}{ratio:6.2f}   {mine} / {other}" if other else f"    {title:20}   -")


def show_row(r: dict[str, Any]) -> None:
    print(
        f"    {r['solver']:20}{r['median'] * 1e3:10.3f} ms  x {r['ratio']:5.2f}"
        f"{r['memory'] / 1e3:12.1f} kB   error {r['error']:.0e} at tolerance {r['tolerance']:.0e}",
        flush=True,
    )


def against_the_better(rows: list[dict[str, Any]]) -> tuple[str, float, str]:
    """The faster of ours, its time in units of that of the fastest other one, which that is."""
    is_ours = [r["solver"].startswith("covector") for r in rows]
    mine = min((r for r, own in zip(rows, is_ours, strict=True) if own), key=lambda r: r["ratio"])
    others = [r for r, own in zip(rows, is_ours, strict=True) if not own]
    if not others:
        return mine["solver"], 0.0, ""
    other = min(others, key=lambda r: r["ratio"])
    return mine["solver"], mine["ratio"] / other["ratio"], other["solver"]


def tolerances(path: Path) -> Known:
    """Those that earlier results found."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {(r["system"], r["task"], r["solver"]): r["tolerance"] for r in rows}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--known", type=Path, default=SAVED)
    parser.add_argument("--out", type=Path, default=Path("build/ode.json"))
    parser.add_argument("--show", type=Path)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    if chosen.show:
        show(json.loads(chosen.show.read_text()))
        return
    known = tolerances(chosen.known)
    results: dict[str, Any] = {"environment": environment(), "rounds": chosen.rounds, "rows": []}
    results["environment"]["versions"]["diffrax"] = version("diffrax")
    for title, s in systems().items():
        if chosen.systems and title not in chosen.systems:
            continue
        for task in TASKS:
            if chosen.task in (None, task):
                rows = compare(title, s, task, chosen.rounds, known)
                print(f"{title}, {task}")
                for r in rows:
                    show_row(r)
                results["rows"] += rows
                save(chosen.out, results)
    show(results)


if __name__ == "__main__":
    main()
