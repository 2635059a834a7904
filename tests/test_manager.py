"""The pass manager: what it shows, checks and leaves out, and what it says of failures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from manager_helpers import BANNER, PROGRAM, banners, own_passes

import covector
from covector.ir.errors import UsageError, VerifyError
from covector.ir.module import Module
from covector.passes import Pass, Pipeline, run_passes
from covector.passes.observers import Observer
from covector.passes.pipeline import PIPELINES, NamedPipeline
from covector.passes.settings import Settings


@pytest.fixture(scope="module", autouse=True)
def only_here() -> Iterator[None]:
    with own_passes():
        yield


@pytest.fixture
def module() -> Module:
    return covector.parse(PROGRAM)


# -- prints ----------------------------------------------------------------------------------------


def test_print_after_all(module: Module, capsys: pytest.CaptureFixture[str]) -> None:
    run_passes(module, "cse,dce", print_after_all=True)
    err = capsys.readouterr().err
    assert banners(err) == [("After", "cse"), ("After", "dce")]
    cleaned = BANNER.split(err)[-1]
    assert covector.parse(cleaned) == run_passes(module, "cse,dce")


def test_print_around_one_pass(module: Module, capsys: pytest.CaptureFixture[str]) -> None:
    run_passes(module, "cse,jvp{wrt=x},dce", print_before="jvp", print_after=("jvp",))
    assert banners(capsys.readouterr().err) == [("Before", "jvp{wrt=x}"), ("After", "jvp{wrt=x}")]


def test_print_after_change(module: Module, capsys: pytest.CaptureFixture[str]) -> None:
    run_passes(module, "cse,cse,dce", print_after_change=True)
    err = capsys.readouterr().err
    assert banners(err) == [("After", "cse"), ("After", "dce")]
    assert re.search(r"^-    b: f32\[3\] = mul x w", err, re.MULTILINE) and "\x1b" not in err


def test_print_after_failure(module: Module, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VerifyError):
        run_passes(module, "cse,test-spoil", print_after_failure=True, reproducer="off")
    err = capsys.readouterr().err
    assert banners(err) == [("After", "test-spoil Failed")] and "exp a" in err


def test_print_to_a_folder(module: Module, tmp_path: Path) -> None:
    run_passes(module, "cse,dce", print_to=str(tmp_path / "steps"))
    files = sorted((tmp_path / "steps").iterdir())
    assert [f.name for f in files] == ["000_input.cvir", "001_cse.cvir", "002_dce.cvir"]
    assert covector.load(files[0]) == module
    assert covector.load(files[2]) == run_passes(module, "cse,dce")
    run_passes(module, "fold", print_to=str(tmp_path / "steps"))
    assert (tmp_path / "steps" / "004_fold.cvir").exists()


def test_locations_and_large_constants_can_be_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers = ", ".join(map(str, range(80)))
    text = f"""func @f() -> (i32[80]) {{
      c: i32[80] = constant[value=$c]  // model.py:1:1
      return c
    }}
    constant $c: i32[80] = dense [{numbers}]"""
    module = covector.parse(text)
    run_passes(module, "cse", print_after_all=True, print_locations=False)
    err = capsys.readouterr().err
    assert "model.py" not in err and "elided" in err
    run_passes(module, "cse", print_after_all=True, elide_larger=80)
    assert "elided" not in capsys.readouterr().err


# -- which passes run ------------------------------------------------------------------------------


def test_stop_after(module: Module) -> None:
    assert run_passes(module, "cse,dce", stop_after=1) == run_passes(module, "cse")
    assert run_passes(module, "cse,dce", stop_after=0) is module


def test_disable(module: Module) -> None:
    assert run_passes(module, "cse,dce", disable="cse") == run_passes(module, "dce")


def test_bisect_limit_counts_passes_that_may_be_left_out(
    module: Module, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = run_passes(module, "cse,jvp,dce", bisect_limit=1)
    assert limited == run_passes(module, "cse,jvp")
    assert capsys.readouterr().err == (
        "BISECT: running pass (1) cse\nBISECT: NOT running pass (2) dce\n"
    )


def test_named_pipelines(module: Module) -> None:
    assert run_passes(module, "clean") == run_passes(module, "fold,cse,dce")
    assert str(Pipeline.of("reverse{wrt=0}")) == "linearize{wrt=0},transpose,fold,cse,dce"
    for name, named in PIPELINES.items():
        assert str(Pipeline.of(name)) == named.passes and named.reason


def test_a_named_pipeline_of_ones_own(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PIPELINES, "mine", NamedPipeline("dce,clean", "for a test"))
    assert str(Pipeline.of("jvp,mine")) == "jvp,dce,fold,cse,dce"


def test_describe_shows_defaults() -> None:
    pipeline = Pipeline.of("jvp,batch,inline{max_uses=1}")
    text = pipeline.describe()
    assert text == (
        "jvp{wrt=None},batch{size=2 in_axes=0 axis_name=None},inline{max_uses=1 max_equations=None}"
    )
    assert Pipeline.of(text) == pipeline


@pytest.mark.parametrize("text", ["batch{in_axes=None}", "batch{in_axes=0,None}", "jvp{wrt=x,1}"])
def test_pipelines_read_back(text: str) -> None:
    assert str(Pipeline.of(text)) == text


def test_observers_see_every_step(module: Module) -> None:
    class Recorder(Observer):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def start(self, module: Module) -> None:
            self.seen.append("start")

        def before(self, step: Pass, module: Module) -> None:
            self.seen.append(f"before {step}")

        def after(self, step: Pass, before: Module, after: Module) -> None:
            self.seen.append(f"after {step}")

        def skipped(self, step: Pass) -> None:
            self.seen.append(f"skipped {step}")

    recorder = Recorder()
    Pipeline.of("cse,dce", observers=[recorder], disable="cse").run(module)
    assert recorder.seen == ["start", "skipped cse", "before dce", "after dce"]


# -- settings --------------------------------------------------------------------------------------


def test_switches_from_the_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COVECTOR_PRINT_AFTER_ALL", "1")
    monkeypatch.setenv("COVECTOR_TIMING", "tree")
    run_passes(module, "cse")
    err = capsys.readouterr().err
    assert banners(err) == [("After", "cse")] and "total" in err
    run_passes(module, "cse", print_after_all=False)
    assert not banners(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"COVECTOR_PRINT_AFTER": "cze"}, "there is no pass 'cze'"),
        ({"COVECTOR_TIMING": "treee"}, "timing is table or tree or json, not 'treee'"),
        ({"COVECTOR_STOP_AFTER": "two"}, "COVECTOR_STOP_AFTER takes an integer, got 'two'"),
        ({"COVECTOR_VERIFY_EACH": "maybe"}, "COVECTOR_VERIFY_EACH is 1 or 0, not 'maybe'"),
    ],
)
def test_bad_switches_in_the_environment(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Settings.of({}, environment)
    assert message in str(error.value)


def test_an_unknown_switch(module: Module) -> None:
    with pytest.raises(UsageError) as error:
        run_passes(module, "cse", print_after_al=True)
    assert "there is no switch 'print_after_al'\n  did you mean print_after_all" in str(error.value)


# -- times and statistics --------------------------------------------------------------------------


def test_timing_forms(module: Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    run_passes(module, "cse,dce", timing="json", timing_trace=str(trace))
    total = json.loads(capsys.readouterr().err)
    assert [part["name"] for part in total["parts"]] == ["cse", "dce"]
    assert [part["name"] for part in total["parts"][0]["parts"]] == ["verify"]
    assert total["seconds"] >= sum(part["seconds"] for part in total["parts"])
    events = json.loads(trace.read_text())["traceEvents"]
    assert [e["name"] for e in events] == ["total", "cse", "verify", "dce", "verify"]
    run_passes(module, "cse,dce", timing="table")
    assert capsys.readouterr().err.splitlines()[0].split() == ["ms", "%", "stage"]


DEAD = """func @f(x: f32[3]) -> (f32[3]) {
  a: f32[3] = sin x
  b: f32[3] = cos x
  return a
}"""


def test_statistics(module: Module, capsys: pytest.CaptureFixture[str]) -> None:
    with_dead = covector.parse(DEAD)
    run_passes(module, "linearize,cse,dce", stats="json")
    linearize, cse, dce = json.loads(capsys.readouterr().err)
    assert linearize["counters"]["residuals"] >= 2
    assert linearize["after"]["residual_bytes"] == 12 * linearize["counters"]["residuals"]
    assert cse["counters"] == {"merged": 1}
    assert dce["counters"] == {}  # linearize has dropped what no tangent needs
    assert cse["before"]["flops"] - cse["after"]["flops"] == 3
    run_passes(with_dead, "dce", stats="json")
    (dce,) = json.loads(capsys.readouterr().err)
    assert dce["counters"] == {"dropped": 1}
    assert dce["before"]["equations"] - dce["after"]["equations"] == 1
    run_passes(module, "cse", stats="table")
    header, row = capsys.readouterr().err.splitlines()
    assert header.startswith("pass  equations") and "5 -> 4" in row and "1 merged" in row
