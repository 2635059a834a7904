"""The pass manager behind `covector opt` and its switches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from manager_helpers import PROGRAM, banners, own_passes

import covector
from covector.ir.module import Module
from covector.passes import PASSES, run_passes
from covector.tools import cli


@pytest.fixture(scope="module", autouse=True)
def only_here() -> Iterator[None]:
    with own_passes():
        yield


@pytest.fixture
def module() -> Module:
    return covector.parse(PROGRAM)


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
    assert steps == ["grad", "cse", "dce", "stacks{least=4096}", "masks{least=16384}"]
