"""`covector report`: what a program costs and keeps, where, and what XLA says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.module import Module
from covector.passes.residuals import residuals_of
from covector.tools import cli
from covector.tools.repeats import repeats_of
from covector.tools.report_data import report_of
from covector.tools.silent import silent_costs
from covector.tools.timeline import timeline_of

HERE = Path(__file__).name


def line(word: str) -> int:
    """The number of the only line of this file that ends with `# word`."""
    lines = Path(__file__).read_text().splitlines()
    (found,) = [i for i, text in enumerate(lines, 1) if text.endswith(f"# {word}")]
    return found


def model(w, x):  # type: ignore[no-untyped-def]
    def step(c, w):  # type: ignore[no-untyped-def]
        h = jnp.tanh(c @ w)  # tanh
        return h, jnp.sin(h).sum()  # sin

    y, s = jax.lax.scan(step, x, w)
    return jnp.where(y > 0, y, 0.1 * y).sum() + s.sum()  # where


MODEL = (jnp.ones((5, 4, 4)), jnp.ones((2, 4)))


def kept(module: Module) -> list[tuple[int, str, int | None, str]]:
    """Bytes, kind, line and reason of each residual, in reading order."""
    return sorted(
        (r.nbytes, r.kind, r.location.line if r.location else None, r.why())
        for r in residuals_of(module)
        if r.kind != "input"
    )


# -- residuals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", ["linearize", "linearize,transpose,clean", "grad", "vjp,clean"])
def test_residuals_say_why(passes: str) -> None:
    found = kept(covector.run_passes(covector.make_ir(model)(*MODEL), passes))
    lines = {name: line(name) for name in ("tanh", "sin", "where")}
    assert [(n, kind, at) for n, kind, at, _ in found if kind == "factor"] == [
        (160, "factor", lines["tanh"]), (160, "factor", lines["sin"]),
    ]  # fmt: skip
    slopes = [why.partition(" (")[0] for _, kind, _, why in found if kind == "factor"]
    assert slopes == ["the slope of tanh", "the slope of sin"]
    (mask,) = [row for row in found if row[0] == 8]
    assert mask[1:3] == ("primal", lines["where"])
    assert mask[3].startswith("read by the derivative of select_n (")


def test_residuals_are_those_that_cross() -> None:
    module = covector.run_passes(covector.make_ir(model)(*MODEL), "linearize")
    linear = module.graphs["model.linear"]
    assert [r.value for r in residuals_of(module)] == list(linear.inputs[: linear.linear_from])
    assert residuals_of(covector.make_ir(model)(*MODEL)) == []


def test_residuals_of_text_have_no_reasons_but_bytes() -> None:
    module = covector.run_passes(covector.make_ir(model)(*MODEL), "linearize")
    back = covector.parse(str(module))
    assert [r.nbytes for r in residuals_of(back)] == [r.nbytes for r in residuals_of(module)]


# -- memory ----------------------------------------------------------------------------------------


def test_timeline() -> None:
    text = """func @f(x: f32[8]) -> (f32[]) {
      a: f32[8] = sin x     // m.py:1:1
      b: f32[8] = cos a     // m.py:2:1
      c: f32[4] = slice[start_indices=(0,), limit_indices=(4,), strides=None] b   // m.py:3:1
      d: f32[4] = exp c     // m.py:4:1
      e: f32[] = reduce_sum[axes=(0,)] d
      f: f32[] = reduce_sum[axes=(0,)] a
      y: f32[] = add e f
      return y
    }"""
    timeline = timeline_of(covector.parse(text).main)
    assert timeline.peak == max(timeline.live) and timeline.peak >= 64
    assert {name for name, _, _ in timeline.values} >= {"a: f32[8]", "b: f32[8]"}
    assert ("a: f32[8]", 32, "m.py:1:1") in timeline.values


def test_timeline_of_nothing() -> None:
    timeline = timeline_of(covector.parse("func @f(x: f32[8]) -> (f32[8]) {\n  return x\n}").main)
    assert (timeline.peak, timeline.values) == (0, ())


def test_captured_arrays_are_no_temporaries() -> None:
    table = np.ones((64, 8), np.float32)
    timeline = timeline_of(covector.make_ir(lambda x: jnp.sin(table @ x).sum())(jnp.ones(8)).main)
    assert timeline.peak == 2 * 64 * 4


# -- repeats, constants, silent costs --------------------------------------------------------------


def test_repeated_blocks_are_seen() -> None:
    def deep(x, ws):  # type: ignore[no-untyped-def]
        for w in ws:
            x = jnp.tanh(x @ w) + jnp.sin(x) * 0.5
        return x.sum()

    module = covector.make_ir(deep)(jnp.ones((2, 4)), [jnp.ones((4, 4))] * 12)
    (repeat,) = repeats_of(module)
    assert (repeat.kind, repeat.equations, repeat.times) == ("block", 5, 12)


def test_repeated_blocks_are_seen_through_what_differs() -> None:
    def deep(x, ws):  # type: ignore[no-untyped-def]
        for i in range(4):
            x = jnp.tanh(x @ ws[i]) + jnp.sin(x) * 0.5  # slices from i on
        return x.sum()

    module = covector.make_ir(deep)(jnp.ones((2, 4)), jnp.ones((4, 4, 4)))
    (repeat,) = repeats_of(module)
    assert (repeat.kind, repeat.equations, repeat.times) == ("block", 6, 4)


def test_equal_functions_are_seen() -> None:
    text = "".join(
        f"func {'private ' * (i > 0)}@f{i}(x: f32[]) -> (f32[]) {{\n"
        + "".join(f"  v{k}: f32[] = {p} {f'v{k - 1}' if k else 'x'}\n"
                  for k, p in enumerate(("sin", "cos", "exp", "tanh")))
        + (f"  z: f32[] = call[graph=@f{i + 1}] v3\n  return z\n}}\n" if i < 1 else
           "  return v3\n}\n")
        for i in range(2)
    )  # fmt: skip
    twice = text.replace("return z", "y: f32[] = call[graph=@f2] z\n  return y") + (
        text[text.index("func private @f1") :].replace("@f1", "@f2")
    )
    (repeat,) = repeats_of(covector.parse(twice))
    assert (repeat.kind, repeat.times, repeat.equations) == ("function", 2, 4)


def test_captured_arrays_have_lines() -> None:
    table = np.ones((64, 8), np.float32)

    def lookup(x):  # type: ignore[no-untyped-def]
        return (jnp.asarray(table) @ x).sum()  # captured

    section = report_of(covector.make_ir(lookup)(jnp.ones(8)), ["constants"])["constants"]
    (row,) = section["rows"]
    assert (row["bytes"], row["type"]) == (2048, "f32[64,8]")
    assert [text.rpartition(":")[2] for text in row["lines"]] == [str(line("captured"))]


def silent(function: Any, *args: Any) -> set[str]:
    return {cost.kind for cost in silent_costs(covector.make_ir(function)(*args))}


def test_silent_costs() -> None:
    def carries(x):  # type: ignore[no-untyped-def]
        def step(carry, i):  # type: ignore[no-untyped-def]
            buffer, s = carry
            return (buffer.at[i].set(s), jnp.sin(s)), None

        return jax.lax.scan(step, (jnp.zeros((100, 8)), x), jnp.arange(100))[0][0].sum()

    def stacks(x):  # type: ignore[no-untyped-def]
        return jax.lax.scan(lambda s, _: (jnp.sin(s), s), x, None, length=100)[1].sum()

    def branch(p, x):  # type: ignore[no-untyped-def]
        return jax.lax.cond(p, jnp.sin, jnp.cos, x)

    def doubled(x):  # type: ignore[no-untyped-def]
        return jax.lax.while_loop(lambda c: c < 10, lambda c: c * 2, x)

    def scattered(x, i):  # type: ignore[no-untyped-def]
        return x.at[i].add(1.0)

    p, x = jnp.array([True, False]), jnp.ones(2)
    assert silent(carries, jnp.ones(8)) == {"carried buffer"}
    assert silent(stacks, jnp.ones(8)) == set()
    assert silent(branch, True, 1.0) == set()
    for vmap in (covector.vmap, jax.vmap):
        assert silent(vmap(branch), p, x) == {"cond as select"}
        assert silent(vmap(doubled), x) == {"loop in lockstep", "unknown steps"}
        indices = jnp.zeros((3, 2), int)
        assert silent(vmap(scattered), jnp.ones((3, 4)), indices) == {"batched scatter"}
    assert silent(scattered, jnp.ones(4), jnp.zeros(2, int)) == set()


# -- XLA's figures ---------------------------------------------------------------------------------


def test_figures_stand_beside_xlas() -> None:
    def product(a, b):  # type: ignore[no-untyped-def]
        return a @ b

    module = covector.make_ir(product)(jnp.ones((32, 64)), jnp.ones((64, 16)))
    data = report_of(module, ["totals"])
    figures = {figure["name"]: figure for figure in data["figures"]}
    assert figures["flops"]["counted"] == 2 * 32 * 64 * 16 == figures["flops"]["xla"]
    assert figures["arguments"]["counted"] == figures["arguments"]["xla"]
    assert figures["flops"]["difference"] == 0 and figures["code"]["counted"] is None
    without = report_of(module, ["totals"], xla=False)["figures"]
    assert all(figure["xla"] is None for figure in without)


# -- the command line ------------------------------------------------------------------------------


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            cli.main(["report", f"{Path(__file__).parent}/nan_programs.py:looped", *arguments])
        assert not exit_.value.code
        return capsys.readouterr().out

    text = run()
    for title in ("residuals\n", "memory\n", "by line\n", "by primitive\n", "silent costs\n"):
        assert title in text
    assert "counted  XLA" in text and "XLA counts the body of a loop once" in text
    assert "the slope of sqrt (" in text
    data = json.loads(run("--json", "--no-xla"))
    assert data["residuals"]["of"] == "reverse mode, if it is asked for"
    assert data["memory"]["peak"] == max(data["memory"]["live"])
    assert list(json.loads(run("--json", "--only", "repeats"))) == [
        "module", "entry", "unknown", "repeats",
    ]  # fmt: skip
