"""`covector check`, `bisect` and `reduce`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from check_helpers import NAN, PROGRAM, wrong_passes

import covector
from covector.passes import PASSES
from covector.tools import cli
from covector.tools.laws import LAWS


@pytest.fixture(autouse=True)
def wrong_passes_are_known() -> Iterator[None]:
    with wrong_passes():
        yield


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("f.cvir").write_text(PROGRAM)
    Path("nan.cvir").write_text(NAN)

    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(arguments)
        return int(exit_.value.code or 0), *capsys.readouterr()

    return command


def test_check_command(run: Command) -> None:
    status, out, err = run("check", "f.cvir", "--passes", "grad,clean")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == ["pass", "output", "law", "xla"]
    assert "@f.grad ct_x: f32[4]" in out and "wrong" not in out
    status, out, err = run("check", "f.cvir", "--passes", "grad,wrong-fold", "--no-xla", "--json")
    rows = json.loads(out)
    assert status == 1 and {row["verdict"] for row in rows} == {"ok", "wrong"}
    assert err == "which equation is it? covector bisect f.cvir --passes 'grad,wrong-fold'\n"


def test_jax_own_results_are_a_column(run: Command) -> None:
    status, out, _ = run("check", "f.cvir", "--passes", "jvp", "--no-xla", "--jax")
    assert status == 0 and out.splitlines()[0].split() == ["pass", "output", "law", "jax"]
    status, out, _ = run("bisect", "f.cvir", "--passes", "wrong-jvp", "--no-xla", "--jax")
    assert status == 1 and "JAX's own against this" in out and "sin b    // m.py:4:4" in out


def test_check_needs_passes(run: Command) -> None:
    assert run("check", "f.cvir") == (0, "nothing to check: give --passes\n", "")


def test_bisect_command(run: Command) -> None:
    arguments = ("bisect", "f.cvir", "--passes", "cse,wrong-jvp,dce", "--no-xla")
    status, out, _ = run(*arguments, "-o", "small.cvir")
    assert status == 1
    assert out.startswith("pass 2 of 3 is the first to go wrong: wrong-jvp\n  @f.jvp dy: f32[]")
    assert "equation 3 of @f is the first, also by itself:\n    c: f32[3] = sin b    // m.p" in out
    assert [e.primitive.name for e in covector.load("small.cvir").main.equations] == ["sin"]
    data = json.loads(run(*arguments, "--json")[1])
    assert data["pass"] == "wrong-jvp" and data["culprit"]["location"] == "m.py:4:4"
    made = covector.parse(data["culprit"]["becomes"])  # d sin = sin, to be seen in four lines
    assert [e.primitive.name for e in made.main.equations] == ["sin", "sin", "mul"]
    assert out.endswith(f"of which the pass makes:\n{made}")
    assert run("bisect", "f.cvir", "--passes", "jvp,clean")[:2] == (0, "nothing is wrong\n")


def test_bisect_a_crash(run: Command) -> None:
    status, out, _ = run("bisect", "f.cvir", "--passes", "cse,crash-on-tanh")
    assert status == 1 and "PassError: crash-on-tanh failed with KeyError: 'b'" in out
    assert "b: f32[3] = tanh a" in out and "also by itself" in out and "makes" not in out


def test_bisect_by_a_command(run: Command) -> None:
    command = (
        f"{sys.executable} -c \"import sys; sys.exit(open(sys.argv[1]).read().count('cos') < 1)\""
    )
    status, out, _ = run("bisect", "f.cvir", "--passes", "cse,jvp,dce", "--predicate", command)
    assert status == 1 and out.startswith("pass 2 of 3 is the first to go wrong: jvp")
    assert "c: f32[3] = sin b" in out
    shell = ("--predicate", "sh -c 'grep -q cos %s'")  # the file's name inside of a word
    status, again, _ = run("bisect", "f.cvir", "--passes", "cse,jvp,dce", *shell)
    assert status == 1 and again.splitlines()[2:] == out.splitlines()[2:]
    status, _, err = run("bisect", "f.cvir", "--passes", "cse", "--predicate", "true")
    assert status == 2 and "holds for the program as it is" in err


def test_bisect_nan_command(run: Command) -> None:
    status, out, _ = run("bisect", "nan.cvir", "--passes", "grad", "--nan")
    assert status == 1 and out.startswith("after pass grad:\nNaN is first made in @f.grad:")
    data = json.loads(run("bisect", "nan.cvir", "--passes", "grad", "--nan", "--json")[1])
    assert data["location"] == "m.py:3:4" and data["cause"]["what"] == "infinity"
    assert run("bisect", "f.cvir", "--passes", "grad", "--nan")[0] == 0


SCALED_NORM = """func @f(x: f32[3], k: f32[3]) -> (f32[]) {
  a: f32[3] = mul x k
  b: f32[3] = mul a a
  c: f32[] = reduce_sum[axes=(0,)] b
  d: f32[] = sqrt c
  e: f32[3] = add d k
  f: f32[] = reduce_sum[axes=(0,)] e
  return f
}
"""


def test_inputs_filled_with_numbers(run: Command) -> None:
    Path("norm.cvir").write_text(SCALED_NORM)
    norm = ("norm.cvir", "--passes", "grad,clean")
    assert run("reduce", *norm, "--symptom", "nan")[0] == 2  # not on random inputs
    status, out, _ = run("reduce", *norm, "--symptom", "nan", "--at", "x=0")
    assert status == 0 and len(covector.parse(out).main) < 5
    assert run("bisect", *norm, "--nan")[0] == 0
    status, out, _ = run("bisect", *norm, "--nan", "--at", "x=0")
    assert status == 1 and "NaN is first made in @f.grad" in out
    assert run("check", *norm, "--no-xla")[0] == 0
    assert run("check", *norm, "--no-xla", "--at", "k=0")[0] == 1
    assert "has no input 'z'" in run("check", *norm, "--at", "z=0")[2]


def test_every_law_is_known() -> None:
    ours = [cls for cls in PASSES.values() if cls.__module__.startswith("covector.")]
    assert len(ours) > 10 and {cls.law for cls in ours} == set(LAWS)


def test_reduce_command(run: Command) -> None:
    arguments = ("reduce", "f.cvir", "--passes", "grad,wrong-fold")
    status, out, err = run(*arguments)
    assert status == 0 and len(covector.parse(out).main) == 1
    assert "with: wrong numbers" in err and "under --passes 'wrong-fold'" in err
    data = json.loads(run(*arguments, "--json")[1])
    assert data["equations"] == [10, 1] and covector.parse(data["program"])
    status, _, err = run("reduce", "f.cvir", "--passes", "grad")
    assert status == 2 and "there is nothing to reduce for" in err
    status, _, err = run("reduce", "f.cvir", "--predicate", "no-such-command")
    assert status == 2 and "cannot run no-such-command" in err
