"""Every row of the table beside other tools, run: what covector's column names does its work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from comparison_bench import FILES, PROGRAM, Bench

import covector
from covector.passes import PASSES

PAGE = Path(__file__).parent.parent / "docs" / "commands" / "comparison.md"


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bench:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
    return Bench(capsys)


Row = Callable[[Bench], object]
ROWS: dict[str, Row] = {}


def row(name: str) -> Callable[[Row], Row]:
    def enter(check: Row) -> Row:
        ROWS[name] = check
        return check

    return enter


@row("run passes by name, with options")
def _(run: Bench) -> None:
    assert "func @f.jvp(x: f32[3], w: f32[3], dx: f32[3])" in run(
        "opt f.cvir --passes jvp{wrt=0},cse"
    )


@row("pipelines with a name")
def _(run: Bench) -> None:
    assert "func @f.transpose(" in run("opt f.cvir --passes reverse,clean")


@row("show the pipeline with defaults")
def _(run: Bench) -> None:
    assert (
        run("opt --passes clean,grad --dump-pipeline")
        == "fold,cse,dce,grad{wrt=None value=false}\n"
    )


@row("list passes and options")
def _(run: Bench) -> None:
    assert "in_axes: tuple[int | None, ...] = (0,)" in run("passes")


@row("list operations")
def _(run: Bench) -> None:
    assert re.search(r"^dot_general +contraction +native", run("primitives"), re.MULTILINE)


@row("print before, after a pass")
def _(run: Bench) -> None:
    said = run("opt f.cvir --passes cse,dce --print-before dce --print-after cse -o o.cvir")
    assert re.findall(r"IR Dump (\w+ \w+) //", said) == ["After cse", "Before dce"]


@row("print around all passes")
def _(run: Bench) -> None:
    said = run("opt f.cvir --passes cse,dce --print-before-all --print-after-all -o o.cvir")
    assert re.findall(r"IR Dump (\w+) ", said) == ["Before", "After"] * 2


@row("print on change")
def _(run: Bench) -> None:
    said = run("opt f.cvir --passes dce,cse --print-after-change -o o.cvir")
    assert "After dce" not in said and "\n-    b: f32[3] = mul x w" in said


@row("print on failure")
def _(run: Bench) -> None:
    said = run("opt f.cvir --load mine.py --passes cse,row-crash --print-after-failure", status=1)
    assert "IR Dump After row-crash Failed" in said


@row("a file for each step")
def _(run: Bench) -> None:
    run("opt f.cvir --passes cse,dce --print-to steps -o o.cvir")
    assert sorted(os.listdir("steps")) == ["000_input.cvir", "001_cse.cvir", "002_dce.cvir"]


@row("start from a step's file")
def _(run: Bench) -> None:
    run("opt f.cvir --passes cse,grad --print-to steps -o whole.cvir")
    run("opt steps/001_cse.cvir --passes grad -o rest.cvir")
    assert covector.load("rest.cvir") == covector.load("whole.cvir")


@row("source locations")
def _(run: Bench) -> None:
    assert "// m.py:5:4" in run("opt f.cvir") and "m.py" not in run("opt f.cvir --no-locations")


@row("names of the source's variables")
def _(run: Bench) -> None:
    Path("named.py").write_text("def f(x):\n    doubled = x + x\n    return doubled * x\n")
    assert "doubled: f32[3] = add x x" in run("trace named.py:f --args", "f32[3]")


@row("leave out large constants")
def _(run: Bench) -> None:
    assert "constant $k: f32[3] = elided" in run("opt f.cvir --elide-larger 2")


@row("users of each value")
def _(run: Bench) -> None:
    (function,) = json.loads(run("opt f.cvir --json"))["functions"]
    assert [e["primitive"] for e in function["equations"] if "d" in e["inputs"]] == ["tanh"]


@row("verify after each pass")
def _(run: Bench) -> None:
    assert "  verify" in run("opt f.cvir --passes cse --timing -o o.cvir")
    assert "  verify" not in run("opt f.cvir --passes cse --timing --no-verify-each -o o.cvir")


@row("text reads back")
def _(run: Bench) -> None:
    assert "round trip" in run("opt f.cvir --passes cse --verify-roundtrip --timing -o o.cvir")


@row("foreseen errors")
def _(run: Bench) -> None:
    assert "unexpected error" in run("opt bad.cvir --verify-diagnostics", status=1)
    Path("bad.cvir").write_text(
        "// expected-error @below {{cannot broadcast}}\n"
        + Path("bad.cvir").read_text().replace("\n", " ", 1)
    )
    assert run("opt bad.cvir --verify-diagnostics") == ""


@row("several programs in a file")
def _(run: Bench) -> None:
    Path("two.cvir").write_text(f"{PROGRAM}// -----\n{PROGRAM}")
    assert run("opt two.cvir --split-input --passes cse").count("module @m {") == 2


@row("invalid programs as input")
def _(run: Bench) -> None:
    assert "z: f32[3] = add x y" in run("opt bad.cvir --no-verify")


@row("operations of others")
def _(run: Bench) -> None:
    assert "foreign" in run("trace foreign.py:doubles") and "0.2514" in run(
        "run foreign.py:doubles"
    )


@row("where an error of the tool's own was raised")
def _(run: Bench) -> None:
    command = [sys.executable, "-m", "covector.tools.cli", "opt", "f.cvir", "--passes", "transpose"]
    environment = {**os.environ, "COVECTOR_TRACEBACK": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.stderr.startswith("Traceback") and "passes/transpose.py" in result.stderr


@row("errors for programs to read")
def _(run: Bench) -> None:
    assert json.loads(run("opt bad.cvir --json", status=1))["error"] == "VerifyError"


@row("time of each pass")
def _(run: Bench) -> None:
    assert "  cse\n" in run("opt f.cvir --passes cse --timing -o o.cvir")
    assert "    cse\n" in run("opt f.cvir --passes cse --timing=tree -o o.cvir")
    assert json.loads(run("opt f.cvir --passes cse --timing=json -o o.cvir"))["seconds"] > 0


@row("trace of times")
def _(run: Bench) -> None:
    run("opt f.cvir --passes cse --timing-trace t.json -o o.cvir")
    events = json.loads(Path("t.json").read_text())["traceEvents"]
    assert {"cse", "parse"} <= {event["name"] for event in events}
    assert all(event["ph"] == "X" and event["dur"] >= 0 for event in events)


@row("counters of passes")
def _(run: Bench) -> None:
    assert "1 merged" in run("opt f.cvir --passes cse --stats -o o.cvir")


@row("FLOPs and bytes before and after")
def _(run: Bench) -> None:
    assert "7 -> 6" in run("opt f.cvir --passes cse --stats -o o.cvir")
    assert "flops a byte" in run("report f.cvir --no-xla")


@row("what a derivative saves")
def _(run: Bench) -> None:
    said = run("opt f.cvir --passes linearize{wrt=0} --stats -o o.cvir")
    assert "residual bytes" in said and "kept because it is" in run(
        "report f.cvir --only residuals"
    )


@row("reproducer on failure")
def _(run: Bench) -> None:
    said = run("opt f.cvir --load mine.py --passes row-crash --reproducer r.cvir", status=1)
    assert "--run-reproducer r.cvir" in said and Path("r.cvir").exists()


@row("repeat it")
def _(run: Bench) -> None:
    run("opt f.cvir --load mine.py --passes cse,row-crash --reproducer r.cvir", status=1)
    assert "KeyError" in run("opt --run-reproducer r.cvir --load mine.py", status=1)


@row("stop after N passes")
def _(run: Bench) -> None:
    assert "func @f(" in run("opt f.cvir --passes cse,grad --stop-after 1")


@row("leave out a pass")
def _(run: Bench) -> None:
    assert "func @f(" in run("opt f.cvir --passes cse,grad --disable grad")


@row("bisect over passes")
def _(run: Bench) -> None:
    said = run("opt f.cvir --passes cse,dce --bisect-limit 1 -o o.cvir")
    assert "NOT running pass (2) dce" in said
    found = run("bisect f.cvir --load mine.py --passes cse,row-wrong,dce --no-xla", status=1)
    assert "pass 2 of 3 is the first to go wrong: row-wrong" in found


@row("bisect over single rewrites")
def _(run: Bench) -> None:
    found = run("bisect f.cvir --load mine.py --passes row-wrong --no-xla", status=1)
    assert "e: f32[3] = tanh d" in found and "e: f32[3] = sin d" in found


@row("make a failing program smaller")
def _(run: Bench) -> None:
    assert "7 equations -> 1" in run("reduce f.cvir --load mine.py --passes row-wrong")


@row("check a pass on numbers")
def _(run: Bench) -> None:
    assert "wrong" in run("check f.cvir --load mine.py --passes row-wrong", status=1)


@row("find a NaN")
def _(run: Bench) -> None:
    text = (
        "func @f(x: f32[]) -> (f32[]) {\n  y: f32[] = sqrt x\n  z: f32[] = mul y y\n  return z\n}\n"
    )
    Path("root.cvir").write_text(text)
    assert "sqrt at 0" in run("why-nan root.cvir --at 0", status=1)


@row("passes of one's own")
def _(run: Bench) -> None:
    assert "sin d" in run("opt f.cvir --load mine.py --passes row-wrong")


@row("draw the program")
def _(run: Bench) -> None:
    assert run("opt f.cvir --emit dot").startswith("digraph {")


@row("step through in a viewer")
def _(run: Bench) -> None:
    run("view f.cvir --passes cse,dce -o page.html")
    assert "<!doctype html>" in Path("page.html").read_text()[:100].lower()


@row("other forms of output")
def _(run: Bench) -> None:
    assert "lambda" in run("opt f.cvir --emit jaxpr")
    assert "stablehlo.tanh" in run("opt f.cvir --emit stablehlo") and "module" in run(
        "lower f.cvir"
    )
    assert json.loads(run("opt f.cvir --emit json"))["entry"] == "f"


@row("lower for a device that is not there")
def _(run: Bench) -> None:
    assert "stablehlo.tanh" in run("lower f.cvir --platform tpu")


@row("the same switches in a running program")
def _(run: Bench) -> None:
    environment = {**os.environ, "COVECTOR_PRINT_AFTER_ALL": "1"}
    result = subprocess.run(
        [sys.executable, "train.py"], capture_output=True, text=True, check=True, env=environment
    )
    assert "// -----// IR Dump After grad //----- //" in result.stderr
    covector.run_passes(covector.load("f.cvir"), "cse", print_after_all=True)
    assert "// -----// IR Dump After cse //----- //" in run.capsys.readouterr().err


@row("colours")
def _(run: Bench) -> None:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    assert "<span" in highlight(PROGRAM, get_lexer_by_name("covector"), HtmlFormatter())
    assert "<span" in covector.load("f.cvir")._repr_html_()  # type: ignore[operator]


@row("completion by the shell")
def _(run: Bench) -> None:
    assert "_COVECTOR_COMPLETE" in run("completion bash")


def rows_of_the_page() -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]


def test_every_row_is_run() -> None:
    assert list(ROWS) == rows_of_the_page()


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, bench: Bench) -> None:
    before = set(PASSES)
    try:
        ROWS[name](bench)
    finally:
        for added in set(PASSES) - before:
            del PASSES[added]
