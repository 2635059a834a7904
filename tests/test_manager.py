"""The pass manager: what it shows, checks and leaves out, and what it says of failures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import covector
from covector.ir.errors import PassError, UsageError, VerifyError
from covector.ir.graph import Graph
from covector.ir.module import Module
from covector.passes import PASSES, Pass, Pipeline, run_passes
from covector.passes.observers import Observer
from covector.passes.pipeline import PIPELINES, NamedPipeline
from covector.passes.settings import Settings
from covector.tools import cli

PROGRAM = """module @main {
  func @f(x: f32[3], w: f32[3]) -> (f32[3]) {
    a: f32[3] = mul x w        // model.py:2:4
    b: f32[3] = mul x w        // model.py:3:4
    c: f32[3] = exp b          // model.py:4:4
    d: f32[3] = add a c        // model.py:5:4
    e: f32[3] = tanh d         // model.py:6:4
    return d
  }
}
"""
BANNER = re.compile(r"// -----// IR Dump (Before|After) (.+) //----- //")


@dataclass(frozen=True)
class Spoil(Pass):
    """Return a program that is none."""

    name: ClassVar[str] = "test-spoil"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return Graph(graph.inputs, graph.equations[1:], graph.outputs, graph.name)


@dataclass(frozen=True)
class Crash(Pass):
    """Raise."""

    name: ClassVar[str] = "test-crash"
    law: ClassVar[str] = "equal outputs"

    def run(self, module: Module) -> Module:
        raise KeyError("deep inside")


@pytest.fixture(scope="module", autouse=True)
def only_here() -> Iterator[None]:
    """The passes of this file are no passes elsewhere."""
    PASSES.update({Spoil.name: Spoil, Crash.name: Crash})
    yield
    del PASSES[Spoil.name], PASSES[Crash.name]


for name in (Spoil.name, Crash.name):
    del PASSES[name]


@pytest.fixture
def module() -> Module:
    return covector.parse(PROGRAM)


def banners(text: str) -> list[tuple[str, str]]:
    return BANNER.findall(text)


# -- prints --------------------------------------------------------------------------------------


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


# -- which passes run ----------------------------------------------------------------------------


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


# -- settings ------------------------------------------------------------------------------------


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


# -- verification and failures ---------------------------------------------------------------------


def test_each_step_is_verified(module: Module) -> None:
    with pytest.raises(VerifyError) as error:
        run_passes(module, "cse,test-spoil", reproducer="off")
    message = str(error.value)
    assert "a is read before it is made" in message and "in @f, after pass test-spoil" in message
    run_passes(module, "test-spoil", verify_each=False)


def test_roundtrip_is_checked(module: Module) -> None:
    assert run_passes(module, "cse,jvp", verify_roundtrip=True) == run_passes(module, "cse,jvp")


def test_a_crash_is_a_pass_error_that_says_where(module: Module) -> None:
    with pytest.raises(PassError) as error:
        run_passes(module, "test-crash", reproducer="off")
    message = str(error.value)
    assert message.startswith("test-crash failed with KeyError: 'deep inside'\n  in pass test-cr")
    assert "raised at " in message and "test_manager.py" in message
    assert isinstance(error.value.__cause__, KeyError)


def test_a_failure_leaves_a_reproducer(
    module: Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "failed.cvir"
    with pytest.raises(VerifyError) as error:
        run_passes(module, "cse,test-spoil,dce", reproducer=str(file))
    assert f"covector opt --run-reproducer {file}" in str(error.value)
    text = file.read_text()
    assert "// passes: test-spoil,dce\n" in text and "// error: VerifyError: a is read" in text
    assert re.search(r"^// versions: python 3\.\d+\.\d+, .*numpy ", text, re.MULTILINE)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["opt", "--run-reproducer", str(file)])
    assert exit_.value.code == 1
    assert "a is read before it is made" in capsys.readouterr().err


def test_a_reproducer_that_does_not_fail_any_more(
    module: Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "failed.cvir"
    with pytest.raises(VerifyError):
        run_passes(module, "test-spoil", reproducer=str(file))
    file.write_text(file.read_text().replace("passes: test-spoil", "passes: cse"))
    with pytest.raises(SystemExit) as exit_:
        cli.main(["opt", "--run-reproducer", str(file)])
    assert exit_.value.code == 0
    assert "does not fail any more; it did with VerifyError" in capsys.readouterr().err


def test_a_reproducer_names_the_files_of_its_passes(tmp_path: Path) -> None:
    own = tmp_path / "own_passes.py"
    own.write_text(
        "from covector.passes import Pass\n"
        "class Unlucky(Pass):\n"
        '    """Fail."""\n'
        "    name, law = 'unlucky', 'equal outputs'\n"
        "    def run(self, module):\n"
        "        raise RuntimeError('bad luck')\n"
    )
    program, file = tmp_path / "p.cvir", tmp_path / "again.cvir"
    program.write_text("func @f(x: f32[]) -> (f32[]) {\n  return x\n}\n")
    command = [sys.executable, "-m", "covector.tools.cli", "opt"]

    def said(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        return done.stderr

    error = said(
        str(program), "--load", str(own), "--passes", "cse,unlucky", "--reproducer", str(file)
    )
    assert f"covector opt --run-reproducer {file} --load {own}" in error
    assert f"give: --load {own}" in said("--run-reproducer", str(file))
    assert "bad luck" in said("--run-reproducer", str(file), "--load", str(own))


def test_by_default_reproducers_go_to_the_temporary_folder(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVECTOR_REPRODUCER", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(3):
        with pytest.raises(VerifyError):
            run_passes(module, "test-spoil")
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(PassError):  # a refusal explains itself
        run_passes(module, "grad")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failed_lowering_leaves_a_reproducer(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from covector.lowering import emit

    def fail(*_: Any) -> None:
        raise KeyError("no such operation")

    monkeypatch.setenv("COVECTOR_REPRODUCER", str(tmp_path / "lowering.cvir"))
    monkeypatch.setattr(emit, "_lower", fail)
    with pytest.raises(covector.CovectorError) as error:
        emit.lower_module(module, ("tpu",))
    assert "lowering failed with KeyError" in str(error.value)
    text = (tmp_path / "lowering.cvir").read_text()
    assert "// lower: tpu\n" in text and covector.parse(text).main.equations


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


def test_statistics(module: Module, capsys: pytest.CaptureFixture[str]) -> None:
    run_passes(module, "linearize,cse,dce", stats="json")
    linearize, cse, dce = json.loads(capsys.readouterr().err)
    assert linearize["counters"]["residuals"] >= 2
    assert linearize["after"]["residual_bytes"] == 12 * linearize["counters"]["residuals"]
    assert cse["counters"] == {"merged": 1}
    assert dce["counters"]["dropped"] == dce["before"]["equations"] - dce["after"]["equations"]
    assert cse["before"]["flops"] - cse["after"]["flops"] == 3
    run_passes(module, "cse", stats="table")
    header, row = capsys.readouterr().err.splitlines()
    assert header.startswith("pass  equations") and "5 -> 4" in row and "1 merged" in row


# -- the command line ------------------------------------------------------------------------------


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def opt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("f.cvir").write_text(PROGRAM)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(["opt", *arguments])
        return int(exit_.value.code or 0), *capsys.readouterr()

    return run


def test_switches_on_the_command_line(opt: Command, module: Module) -> None:
    status, out, err = opt(
        "f.cvir", "--passes", "cse,dce", "--print-after", "cse,dce", "--no-print-locations",
        "--stop-after", "1", "--no-verify-each", "--timing", "--stats=json",
    )  # fmt: skip
    assert status == 0 and covector.parse(out) == run_passes(module, "cse")
    assert banners(err) == [("After", "cse")] and "parse" in err and '"merged": 1' in err
    assert out.count("model.py") == 4 and "model.py" not in err


def test_dump_pipeline(opt: Command) -> None:
    assert opt("--passes", "clean,jvp", "--dump-pipeline") == (
        0,
        "fold,cse,dce,jvp{wrt=None}\n",
        "",
    )
    status, out, _ = opt("--passes", "cse,batch{in_axes=0,None}", "--dump-pipeline", "--json")
    assert [step["pass"] for step in json.loads(out)] == ["cse", "batch"]
    assert json.loads(out)[1]["options"] == {"size": 2, "in_axes": [0, None], "axis_name": None}
    status, out, err = opt("f.cvir", "--passes", "jvp", "--dump-pipeline")
    assert status == 0 and err == "jvp{wrt=None}\n" and "@f.jvp" in out


def test_split_input(opt: Command) -> None:
    wrong = PROGRAM.replace("exp b", "exq b")
    Path("parts.cvir").write_text(f"{PROGRAM}// -----\n{wrong}// -----\n{PROGRAM}")
    status, out, err = opt("parts.cvir", "--passes", "cse", "--split-input")
    assert status == 1 and len(out.split("// -----\n")) == 2
    assert "there is no primitive 'exq'\n  at parts.cvir:16:17" in err
    status, out, err = opt("parts.cvir", "--passes", "cse", "--split-input", "--json")
    assert status == 1 and len(json.loads(out)) == 2
    assert json.loads(err)["location"] == "parts.cvir:16:17"


def test_errors_as_json(opt: Command) -> None:
    status, out, err = opt("f.cvir", "--passes", "transpose", "--json")
    said = json.loads(err)
    assert (status, out, said["error"]) == (1, "", "MissingRule")
    assert said["location"] == "model.py:4:4" and " = " in said["equation"]
    status, _, err = opt("f.cvir", "--passes", "csee", "--json")
    assert status == 2 and json.loads(err)["hint"] == "did you mean cse?"
    status, _, err = opt("f.cvir", "--pases", "cse", "--json")
    assert status == 2 and "no option" in json.loads(err)["claim"]


@pytest.mark.parametrize("form", ["jaxpr", "stablehlo", "dot", "json"])
def test_emit(opt: Command, form: str) -> None:
    status, out, err = opt("f.cvir", "--passes", "clean", "--emit", form)
    assert (status, err) == (0, "")
    expected = {
        "jaxpr": "= exp",
        "stablehlo": "stablehlo.exponential",
        "dot": "digraph {",
        "json": '"primitive": "exp"',
    }
    assert expected[form] in out
    if form == "json":
        program = json.loads(out)
        assert opt("f.cvir", "--passes", "clean", "--json")[1] == out
        (function,) = program["functions"]
        assert function["equations"][0]["location"] == "model.py:2:4"


def test_an_invalid_program_can_be_printed(opt: Command) -> None:
    Path("bad.cvir").write_text(PROGRAM.replace("c: f32[3]", "c: f32[4]"))
    assert opt("bad.cvir")[0] == 1
    status, out, _ = opt("bad.cvir", "--no-verify")
    assert status == 0 and "c: f32[4] = exp b" in out


def test_what_is_no_reproducer(opt: Command) -> None:
    status, _, err = opt("--run-reproducer", "f.cvir")
    assert status == 2 and "f.cvir is not a reproducer" in err


def test_passes_of_a_file(opt: Command) -> None:
    Path("mine.py").write_text("""
from dataclasses import dataclass
from covector.passes import Pass

@dataclass(frozen=True)
class Reverse(Pass):
    \"\"\"Return the outputs in reverse.\"\"\"
    name = "test-backwards"
    law = "the outputs in reverse"
    def run_graph(self, graph):
        from covector.ir.graph import Graph
        return Graph(graph.inputs, graph.equations, graph.outputs[::-1], graph.name)
""")
    status, out, _ = opt("f.cvir", "--load", "mine.py", "--passes", "test-backwards")
    del PASSES["test-backwards"]
    assert status == 0 and covector.parse(out) == covector.parse(PROGRAM)


def test_what_jit_compiles_can_be_watched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COVECTOR_PRINT_AFTER_ALL", "1")
    function = covector.jit(covector.grad(lambda x: 3.0 * x * x))
    assert function(2.0) == 12.0
    steps = [name for _, name in banners(capsys.readouterr().err)]
    assert steps == ["grad", "cse", "dce", "stacks{least=4096}"]
