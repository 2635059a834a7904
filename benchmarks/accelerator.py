"""What an accelerator makes of our programs: the same numbers as JAX's, memory kept, times.

    python benchmarks/accelerator.py [--only programs,offload,budget,gpt] [--seconds 120]

programs: the corpus of tests/programs.py, values and gradients beside JAX's compiled on the same
device. offload: a checkpoint policy that moves residuals to the host, in a scan and unrolled:
temporary bytes on device and host, times. budget: gradients within budgets, predicted beside actual
bytes. gpt: a 12-block GPT at half and a quarter of JAX's temporary memory, and its run time.

Contractions are computed in full precision (`jax_default_matmul_precision`), so that numbers can be
compared. Times are medians of interleaved runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

import covector

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import gpt
from programs import PROGRAMS, Program

MIB = 2**20


def median_seconds(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """For each, the median over interleaved runs, after one that does not count."""
    times: list[list[float]] = [[] for _ in runs]
    for k in range(rounds + 1):
        for run, kept in zip(runs, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(run())
            if k:
                kept.append(time.perf_counter() - start)
    return [statistics.median(t) for t in times]


def temp_mib(compiled: Any) -> float:
    return float(compiled.memory_analysis().temp_size_in_bytes) / MIB


def compile_jax(fun: Callable[..., Any], *args: Any) -> Any:
    return jax.jit(fun).lower(*args).compile()


# -- programs ------------------------------------------------------------------------------------


def check_programs(limit: float) -> None:
    start, checked, wrong = time.perf_counter(), 0, 0
    for program in PROGRAMS:
        if time.perf_counter() - start > limit:
            print(f"out of time after {checked} of {len(PROGRAMS)} programs")
            break
        if program.tags & {"effects"}:
            continue
        checked += 1
        try:
            compare(program)
        except Exception as error:
            wrong += 1
            print(f"{program.name}: {type(error).__name__}: {str(error)[:400]}")
    print(f"{checked} programs, {wrong} of them differ from JAX's")


def compare(program: Program) -> None:
    """The values of a program, and the gradient of a scalar made of its outputs."""
    args = program.arguments
    assert_close(covector.jit(program.function)(*args), jax.jit(program.function)(*args))
    if not program.differentiable or "integer" in program.tags or not has_vjp(program):
        return

    def scalar(*args: Any) -> Any:
        leaves = [jnp.asarray(x) for x in jax.tree.leaves(program.function(*args))]
        inexact = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
        return sum((jnp.sum(jnp.real(jnp.sin(x))) for x in inexact), jnp.float32(0))

    wrt = program.differentiable
    assert_close(
        covector.jit(covector.grad(scalar, wrt))(*args), jax.jit(jax.grad(scalar, wrt))(*args)
    )


def has_vjp(program: Program) -> bool:
    """Whether JAX differentiates it in reverse: not through a loop of unknown length."""
    return "while" not in str(jax.make_jaxpr(program.function)(*program.arguments))


def assert_close(ours: Any, theirs: Any) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-4)


# -- offload -------------------------------------------------------------------------------------


def layer(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.sin(checkpoint_name(jnp.tanh(x @ w), "h") @ w) + x


def scanned(policy: Any) -> Callable[..., Any]:
    region = jax.checkpoint(layer, policy=policy)
    return lambda ws, x: jnp.sum(jax.lax.scan(lambda x, w: (region(x, w), None), x, ws)[0] ** 2)


def unrolled(policy: Any) -> Callable[..., Any]:
    region = jax.checkpoint(layer, policy=policy)

    def loss(ws: jax.Array, x: jax.Array) -> jax.Array:
        for w in ws:
            x = region(x, w)
        return jnp.sum(x**2)

    return loss


def show_offload() -> None:
    policies = jax.checkpoint_policies
    ways = {
        "everything kept": policies.everything_saveable,
        "h kept": policies.save_only_these_names("h"),
        "h offloaded": policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=["h"],
            offload_src="device",
            offload_dst="pinned_host",
        ),
    }
    ws = 0.02 * jax.random.normal(jax.random.key(0), (8, 2048, 2048))
    x = jax.random.normal(jax.random.key(1), (8192, 2048))
    print(f"{'':28}{'device MiB':>11}{'host MiB':>10}{'ms':>8}")
    for shape, program in (("scan", scanned), ("unrolled", unrolled)):
        for way, policy in ways.items():
            pair = [
                compile_jax(jax.grad(program(policy)), ws, x),
                covector.compile(covector.grad(program(policy)), ws, x),
            ]
            assert_close(pair[1](ws, x), pair[0](ws, x))
            times = median_seconds([lambda c=c: c(ws, x) for c in pair], 5)
            for side, run, seconds in zip(("jax", "ours"), pair, times, strict=True):
                host = run.memory_analysis().host_temp_size_in_bytes / MIB
                name = f"{shape}, {way}, {side}"
                print(f"{name:32}{temp_mib(run):7.0f}{host:10.0f}{seconds * 1e3:8.1f}")


# -- memory budgets ------------------------------------------------------------------------------


def deep(ws: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in ws:
        x = jnp.tanh(x @ w)
    return jnp.sum(x**2)


def show_budgets() -> None:
    ws = [0.05 * jax.random.normal(jax.random.key(i), (256, 256)) for i in range(12)]
    x = jax.random.normal(jax.random.key(99), (4096, 256))
    gradient = covector.grad(deep)
    plain = covector.compile(gradient, ws, x)
    theirs = temp_mib(compile_jax(jax.grad(deep), ws, x))
    print(f"12 layers of tanh(x @ w): {temp_mib(plain):.0f} MiB, jax {theirs:.0f} MiB")
    for share in (0.75, 0.5, 0.35, 0.25):
        show_budget(gradient, (ws, x), temp_mib(plain) * share, plain)


def show_budget(gradient: Any, args: tuple[Any, ...], budget: float, plain: Any) -> None:
    """One line: what a budget in MiB became, and the time beside that of the plain program."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = covector.compile(gradient, *args, memory_budget=int(budget * MIB))
        except covector.BudgetError as error:
            print(f"{budget:8.0f} MiB: {str(error).splitlines()[0]}")
            return
    spent = time.perf_counter() - start
    assert_close(fitted(*args), plain(*args))
    ours, theirs = median_seconds([lambda: fitted(*args), lambda: plain(*args)], 5)
    note = ", and a warning" if caught else ""
    print(
        f"{budget:8.0f} MiB: actual {temp_mib(fitted):.0f} MiB, time {ours / theirs:.2f}, "
        f"planned and compiled in {spent:.1f} s{note}"
    )


def show_gpt() -> None:
    config = dataclasses.replace(gpt.Config(), blocks=12, width=512, heads=8, context=512)
    params = gpt.init(config)
    tokens = jax.random.randint(jax.random.key(5), (config.batch, config.context + 1), 0, 128)
    args = (params, tokens)
    theirs = compile_jax(jax.grad(gpt.loss), *args)
    ours = covector.compile(covector.grad(gpt.loss), *args)
    assert_close(ours(*args), theirs(*args))
    a, b = median_seconds([lambda: ours(*args), lambda: theirs(*args)], 9)
    print(
        f"12 blocks of width 512, context 512: {temp_mib(ours):.0f} MiB, jax "
        f"{temp_mib(theirs):.0f} MiB; {a * 1e3:.1f} ms, jax {b * 1e3:.1f} ms"
    )
    for share in (0.5, 0.25):
        show_budget(covector.grad(gpt.loss), args, temp_mib(theirs) * share, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="programs,offload,budget,gpt")
    parser.add_argument("--seconds", type=float, default=120, help="limit for the programs")
    options = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", "highest")
    device = jax.devices()[0]
    print(f"jax {jax.__version__}, {device.device_kind} ({device.platform})")
    wanted = options.only.split(",")
    if "programs" in wanted:
        check_programs(options.seconds)
    if "offload" in wanted:
        if device.platform == "cpu":
            print("offload: not on the platform cpu, where XLA drops moves between memories")
        else:
            show_offload()
    if "budget" in wanted:
        show_budgets()
    if "gpt" in wanted:
        show_gpt()


if __name__ == "__main__":
    main()
