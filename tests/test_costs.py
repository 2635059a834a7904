"""Costs counted from the text of programs, and the report that attributes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import covector
from covector.ir.costs import costs, graph_cost, module_cost
from covector.ir.primitive import PRIMITIVES
from covector.tools import cli
from covector.tools.spending import measure


def flops(body: str, inputs: str, result: str) -> int:
    module = covector.parse(f"func @f({inputs}) -> ({result}) {{\n{body}\nreturn y\n}}")
    cost = module_cost(module)
    assert not cost.unknown
    return cost.flops


@pytest.mark.parametrize(
    ("body", "inputs", "result", "count"),
    [
        ("y: f32[3,4] = add x x", "x: f32[3,4]", "f32[3,4]", 12),
        ("y: c64[5] = mul x x", "x: c64[5]", "c64[5]", 30),
        ("y: f32[] = reduce_sum[axes=(0, 1)] x", "x: f32[3,4]", "f32[]", 12),
        ("y: f32[4,3] = transpose[permutation=(1, 0)] x", "x: f32[3,4]", "f32[4,3]", 0),
        (
            "y: f32[2,5] = dot_general[dimension_numbers=(((1,), (0,)), ((), ()))] x w",
            "x: f32[2,3], w: f32[3,5]", "f32[2,5]", 60,
        ),
        (
            "y: f32[7,2,5] = dot_general[dimension_numbers=(((2,), (1,)), ((0,), (0,)))] x w",
            "x: f32[7,2,3], w: f32[7,3,5]", "f32[7,2,5]", 420,
        ),
        ("y: f32[8] = cumsum[axis=0, reverse=False] x", "x: f32[8]", "f32[8]", 8),
    ],
)  # fmt: skip
def test_flops(body: str, inputs: str, result: str, count: int) -> None:
    assert flops(body, inputs, result) == count


STEP = (
    "func private @step(c: f32[4]) -> (f32[4]) {\n  d: f32[4] = exp c  // m.py:9:1\n  return d\n}"
)
LOOP = f"""func @f(x: f32[4]) -> (f32[4]) {{
  y: f32[4] = scan[graph=@step, num_carry=1, length=10] x   // m.py:2:1
  z: f32[4] = call[graph=@step] y
  return z
}}
{STEP}"""
WHILE = (
    """func @f(x: f32[4]) -> (f32[4]) {
  y: f32[4] = while[cond_graph=@c, body_graph=@step] x
  return y
}
func private @c(c: f32[4]) -> (bool[]) {
  s: f32[] = reduce_sum[axes=(0,)] c
  p: bool[] = lt s 9.0:f32[]
  return p
}
"""
    + STEP
)
COND = (
    """func @f(i: i32[], x: f32[4]) -> (f32[4]) {
  y: f32[4] = cond[branches=(@step, @two)] i x
  return y
}
func private @two(c: f32[4]) -> (f32[4]) {
  d: f32[4] = exp c
  e: f32[4] = exp d
  return e
}
"""
    + STEP
)


def test_loops_count_their_steps() -> None:
    assert graph_cost(covector.parse(LOOP).main).flops == 44


def test_a_while_counts_one_step_and_says_so() -> None:
    cost = graph_cost(covector.parse(WHILE).main)
    assert cost.flops == 9 and cost.unknown == {"steps of while"}


def test_a_cond_counts_its_dearest_branch() -> None:
    assert graph_cost(covector.parse(COND).main).flops == 8


def test_deep_nests_are_counted_without_recursion() -> None:
    first = "func @f0(x: f32[]) -> (f32[]) {\n  y: f32[] = exp x\n  return y\n}\n"
    rest = (
        f"func @f{i}(x: f32[]) -> (f32[]) {{\n  y: f32[] = call[graph=@f{i - 1}] x\n"
        f"  z: f32[] = call[graph=@f{i - 1}] y\n  return z\n}}\n"
        for i in range(1, 3000)
    )
    module = covector.parse(first + "".join(rest))
    assert graph_cost(module.graphs["f2999"]).flops == 2**2999


def test_most_primitives_have_a_cost() -> None:
    without = {p.family for p in PRIMITIVES.values() if costs.get(p) is None}
    assert without <= {
        "call", "collective", "effect", "foreign", "linalg", "placement", "random", "window",
    }  # fmt: skip


def test_report_by_line() -> None:
    totals, rows, unknown = measure(covector.parse(LOOP), "line")
    assert totals["flops"] == 44 and totals["input_bytes"] == 16 and not unknown
    assert [(row.key, row.flops) for row in rows if row.flops] == [("m.py:9", 44)]
    _, rows, _ = measure(covector.parse(LOOP), "function")
    assert {row.key: row.equations for row in rows} == {"@f": 2, "@step": 2}


def test_residuals_belong_to_the_lines_that_make_them() -> None:
    text = """func @f(x: f32[4]) -> (f32[4]) {
      a: f32[4] = sin x   // m.py:1:1
      b: f32[4] = mul a x // m.py:2:1
      return b
    }"""
    module = covector.run_passes(covector.parse(text), "linearize,transpose,clean")
    totals, rows, _ = measure(module, "line")
    assert totals["residual_bytes"] == 48
    assert {row.key: row.residual_bytes for row in rows} == {
        "m.py:1": 32, "m.py:2": 0, "(inputs)": 16,
    }  # fmt: skip


def test_report_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.cvir").write_text(LOOP)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            cli.main(["report", *arguments])
        assert not exit_.value.code
        return capsys.readouterr().out

    text = run("loop.cvir", "--no-xla")
    assert "flops                44       unknown" in text and "m.py:9" in text
    data = json.loads(run("loop.cvir", "--only", "primitives", "--json"))
    assert data["primitives"][0] == {
        "key": "exp", "equations": 2, "flops": 44, "bytes": 352, "residual_bytes": 0,
        "intensity": 0.125,
    }  # fmt: skip
