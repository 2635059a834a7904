"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import covector
from covector.tools import cli

GPT = Path(__file__).parent.parent / "examples" / "gpt.py"
SIN = """func @f(x: f32[3]) -> (f32[3]) {
  y: f32[3] = sin x
  return y
}
"""
MODEL = """import jax.numpy as jnp

def square(x):
    return (x * x).sum()

def branches(x):
    if x > 0:
        return x
    return -x

def breaks(x):
    y = x + 1
    return y.no_such_method()

def example_args():
    return {"square": (jnp.ones(3),)}
"""


Result = tuple[int, str, str]
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a folder of its own that holds sin.cvir and model.py."""
    monkeypatch.chdir(tmp_path)
    Path("sin.cvir").write_text(SIN)
    Path("model.py").write_text(MODEL)

    def command(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as exit_:
            cli.main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(exit_.value.code or 0), out, err

    return command


def start(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "covector.tools.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


# -- opt -----------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_opt_prints_what_reads_back(run: Run) -> None:
    status, out, err = run("opt", "sin.cvir", "--passes", "linearize,transpose,cse,dce")
    assert (status, err) == (0, "")
    assert str(covector.parse(out)) == out
    assert out == str(covector.run_passes(covector.parse(SIN), "linearize,transpose,cse,dce"))


def test_opt_without_passes_is_the_identity(run: Run) -> None:
    _, out, _ = run("opt", "sin.cvir")
    assert covector.parse(out) == covector.parse(SIN)


def test_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(SIN))
    piped = run("opt", "-", "--passes", "jvp")
    assert piped == run("opt", "sin.cvir", "--passes", "jvp")


def test_errors_name_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("func @f("))
    status, out, err = run("opt", "-")
    assert (status, out) == (1, "")
    assert err.startswith("ParseError: ") and "at <stdin>:1:" in err


def test_output_to_a_file(run: Run) -> None:
    _, text, _ = run("opt", "sin.cvir", "--passes", "jvp")
    assert run("opt", "sin.cvir", "--passes", "jvp", "-o", "jvp.txt") == (0, "", "")
    assert Path("jvp.txt").read_text() == text
    assert run("opt", "sin.cvir", "--passes", "jvp", "-o", "jvp.cvir") == (0, "", "")
    assert str(covector.load("jvp.cvir")) == text


def test_a_failure_leaves_the_output_file_alone(run: Run) -> None:
    Path("out.txt").write_text("precious")
    status, _, _ = run("opt", "sin.cvir", "--passes", "grad", "-o", "out.txt")
    assert status == 1
    assert Path("out.txt").read_text() == "precious"
    before = sorted(Path().iterdir())
    status, _, err = run("opt", "sin.cvir", "-o", "nowhere/out.txt")
    assert (status, sorted(Path().iterdir())) == (2, before)
    assert "cannot write nowhere/out.txt" in err


def test_no_colour_off_a_terminal(run: Run) -> None:
    assert "\x1b" not in run("opt", "sin.cvir")[1]


def test_colour_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covector.tools.output.use_colour", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = run("opt", "sin.cvir")[1]
    assert "\x1b[" in out and "sin" in out


def test_locations_can_be_left_out(run: Run) -> None:
    Path("located.cvir").write_text(SIN.replace("sin x", "sin x    // model.py:3:5"))
    assert "model.py:3:5" in run("opt", "located.cvir")[1]
    assert "model.py:3:5" not in run("opt", "located.cvir", "--no-locations")[1]


@pytest.mark.smoke
def test_opt_needs_no_jax() -> None:
    code = """if True:
        import sys
        from covector.tools.cli import main
        try:
            main(["opt", "-", "--passes", "grad,cse,dce,fold,inline,jvp,batch"])
        except SystemExit as exit:
            loaded = {"jax", "jaxlib", "scipy", "rich"} & sys.modules.keys()
            print(loaded or "none", file=sys.stderr)
            sys.exit(exit.code)
    """
    text = "func @f(x: f32[]) -> (f32[]) {\n  y: f32[] = sin x\n  return y\n}\n"
    result = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr.strip()) == (0, "none")


LIBRARIES = "import numpy, ml_dtypes, click"


def processor_time(folder: Path, *arguments: str) -> float:
    """Seconds of Python where covector is installed: with its modules as byte code."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *arguments], env=environment, check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(seconds() for _ in range(5))


@pytest.mark.slow
def test_opt_starts_fast(tmp_path: Path) -> None:
    """0.2 s where Python and the libraries that it cannot do without take 0.13."""
    program = tmp_path / "sin.cvir"
    program.write_text(SIN)
    opt = ("-m", "covector.tools.cli", "opt", str(program))
    took = processor_time(tmp_path, *opt, "--passes", "jvp")
    assert took < 2 * processor_time(tmp_path, "-c", LIBRARIES)


@pytest.mark.slow
def test_ten_thousand_equations_take_less_than_a_second(tmp_path: Path) -> None:
    lines = [
        f"  v{i + 1}: f32[8] = {('sin', 'add')[i % 2]} v{i}{' x' * (i % 2)}    // m.py:{i}:1"
        for i in range(10_000)
    ]
    head = "func @f(x: f32[8], v0: f32[8]) -> (f32[8]) {"
    program = tmp_path / "long.cvir"
    program.write_text("\n".join([head, *lines, "  return v10000", "}"]))
    opt = ("-m", "covector.tools.cli", "opt", str(program))
    assert processor_time(tmp_path, *opt, "--passes", "cse,dce") < 1


def test_a_closed_pipe_is_no_error() -> None:
    code = "from covector.tools.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "primitives"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait() in (0, 1)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


# -- trace, lower, run ---------------------------------------------------------------------------


def test_trace_by_example_arguments(run: Run) -> None:
    status, out, _ = run("trace", "model.py:square")
    assert status == 0 and "x: f32[3]" in out and "model.py:4" in out
    assert str(covector.parse(out)) == out


def test_trace_for_types(run: Run) -> None:
    status, out, _ = run("trace", "model.py:square", "--args", "f32[2,5]", "--passes", "grad")
    assert status == 0 and "@square.grad(x: f32[2,5]) -> (f32[2,5])" in out


@pytest.mark.slow
def test_trace_the_example() -> None:
    result = start("trace", f"{GPT}:loss")
    assert result.returncode == 0, result.stderr
    assert str(covector.parse(result.stdout)) == result.stdout


def test_lower(run: Run) -> None:
    status, out, _ = run("lower", "sin.cvir", "--passes", "jvp")
    assert status == 0 and "stablehlo.sine" in out and "stablehlo.cosine" in out


@pytest.mark.parametrize("how", [[], ["--interpret"]])
def test_run_on_given_inputs(run: Run, how: list[str]) -> None:
    x = np.array([0.0, 1.0, 2.0], np.float32)
    np.savez("in.npz", x=x)
    status, out, _ = run("run", "sin.cvir", "--inputs", "in.npz", "--save", "out.npz", *how)
    assert status == 0 and out.startswith("y: f32[3] =\n")
    with np.load("out.npz") as saved:
        np.testing.assert_allclose(saved["y"], np.sin(x), rtol=1e-6)


def test_run_on_random_inputs_by_seed(run: Run) -> None:
    one, same, other = (
        run("run", "sin.cvir", "--interpret", "--json", "--seed", s)[1] for s in "001"
    )
    assert one == same != other
    (y,) = json.loads(one)
    assert (y["name"], y["type"], len(y["values"])) == ("y", "f32[3]", 3)


# -- listings ------------------------------------------------------------------------------------


def test_passes_and_primitives(run: Run) -> None:
    out = run("passes")[1]
    assert "linearize: " in out and "law: " in out and "wrt" in out
    rows = json.loads(run("passes", "--json")[1])
    assert {row["pass"] for row in rows} == set(covector.passes.PASSES)
    rows = json.loads(run("primitives", "--json")[1])
    (sin,) = [row for row in rows if row["primitive"] == "sin"]
    assert sin["meaning"] == sin["jvp"] == sin["lower"] == "native"
    assert run("primitives")[1].splitlines()[0].startswith("primitive")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    status, out, _ = run(command, "--help")
    assert status == 0 and f"covector {command}" in out
    assert "Example:" in out


def test_version(run: Run) -> None:
    status, out, _ = run("--version")
    found = dict(line.split() for line in out.splitlines())
    assert status == 0 and list(found)[:3] == ["covector", "jax", "jaxlib"]
    assert found["covector"] == covector.__version__
    assert found["jax"] == importlib.metadata.version("jax")
    assert json.loads(run("--version", "--json")[1]) == found


# -- bad usage and bad programs; texts of programs are in golden/errors ----------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ropt"], "there is no command 'ropt'\n  did you mean opt"),
        (["opt"], "missing argument 'PROGRAM'\n  see covector opt --help"),
        (["opt", "sim.cvir"], "there is no file sim.cvir\n  did you mean sin.cvir?"),
        (["opt", "."], ". is a folder"),
        (["trace", "model.py"], "which function of model.py shall be traced?"),
        (["trace", "model.py:squar"], "has no function 'squar'\n  did you mean square?"),
        (["trace", "model.py:branches"], "has no arguments for 'branches'"),
        (["trace", "model.py:square", "--args", "f23[3]"], "'f23' in 'f23[3]' is no dtype"),
        (["trace", "model.py:square", "--args", "f32(3)"], "types look like f32[8,128]"),
        (["trace", "model.py:square", "--args", "f32[3"], "'f32[3' is no type"),
        (["trace", "model.py:square", "--args", " "], "--args is empty"),
        (["trace", "sin.cvir", "--args", "f32[3]"], "--args goes with a Python function"),
        (["lower", "sin.cvir", "--platform", "abacus"], "'abacus' is not one of"),
        (["run", "sin.cvir", "--inputs", "no.npz"], "cannot read inputs from no.npz"),
    ],
)
def test_bad_usage(run: Run, arguments: list[str], message: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and message in err


def test_inputs_that_do_not_fit(run: Run) -> None:
    np.savez("in.npz", x=np.zeros(4, np.float32))
    status, _, err = run("run", "sin.cvir", "--inputs", "in.npz")
    assert status == 2 and "array x of in.npz has shape (4,); the input x: f32[3] needs (3,)" in err
    np.savez("in.npz", z=np.zeros(3, np.float32))
    status, _, err = run("run", "sin.cvir", "--inputs", "in.npz")
    assert status == 2 and "no array for input 0 of @f (x: f32[3])\n  its arrays: z" in err


def test_a_function_that_cannot_be_traced(run: Run) -> None:
    status, out, err = run("trace", "model.py:branches", "--args", "f32[]")
    assert (status, out) == (1, "")
    assert err.startswith("TraceError: branches cannot be traced: TracerBoolConversionError")
    assert "at model.py:7" in err


def test_a_function_that_raises(run: Run) -> None:
    status, _, err = run("trace", "model.py:breaks", "--args", "f32[3]")
    assert status == 1 and "AttributeError: " in err and "at model.py:13" in err


def test_too_many_arguments(run: Run) -> None:
    status, _, err = run("trace", "model.py:square", "--args", "f32[3], f32[3]")
    assert status == 1 and "square() takes 1 positional argument but 2 were given" in err


def test_a_file_that_is_not_python(run: Run) -> None:
    Path("model.py").write_text("def f(:\n")
    status, _, err = run("trace", "model.py:f", "--args", "f32[]")
    assert status == 1 and "SyntaxError" in err and "model.py:1:7" in err


def test_a_file_that_is_neither_text_nor_program(run: Run) -> None:
    Path("bad.cvir").write_bytes(b"\xff\xfe\x00")
    status, _, err = run("opt", "bad.cvir")
    assert status == 1 and err.startswith("ParseError: ")


def test_a_bug_of_ours_is_one_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("covector.tools.opt.emit", fail)
    status, _, err = run("opt", "sin.cvir")
    assert status == 70 and err.startswith("internal error: KeyError: 'oops'\n  at ")
    monkeypatch.setenv("COVECTOR_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main(["opt", "sin.cvir"])
