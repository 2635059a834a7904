"""Transformations called from Python: shown by the environment's switches, and their failures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

import covector
from covector.ir.primitive import PRIMITIVES
from covector.passes import tables
from covector.passes.families import load_all
from covector.tools import cli

BANNER = re.compile(r"// -----// IR Dump After (.+) //----- //")
X = jnp.arange(3.0)


def loss(x: Any) -> Any:
    return jnp.sum(jnp.sin(x) * x)


def along_a_scan(x: Any) -> Any:
    return jax.lax.scan(lambda c, y: (jnp.sin(c) * y, c), 1.0, x)[0]


# -- shown -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "steps"),
    [
        (lambda: covector.grad(loss)(X), ["grad"]),
        (
            lambda: covector.value_and_grad(lambda k, x: k * loss(x), 1)(2.0, X),
            ["grad{wrt=1 value=true}"],
        ),
        (lambda: covector.jvp(loss, (X,), (X,)), ["jvp"]),
        (lambda: covector.vjp(loss, X)[1](1.0), ["linearize{slim=65536}", "transpose"]),
        (lambda: covector.vmap(jnp.sin)(X), ["batch{size=3}"]),
        (lambda: covector.vmap(jnp.add, (0, None))(X, 1.0), ["batch{size=3 in_axes=0,None}"]),
        (
            lambda: covector.jit(covector.vmap(covector.grad(loss)))(X[None]),
            ["grad", "batch{size=1}"],
        ),
    ],
)
def test_transformations_are_shown(
    call: Callable[[], Any],
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    want = call()
    monkeypatch.setenv("COVECTOR_PRINT_AFTER_ALL", "1")
    got = call()
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), got, want))
    shown = [name for name in BANNER.findall(capsys.readouterr().err) if name in steps]
    assert shown == steps


def test_every_switch_but_those_that_leave_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("STATS", "TIMING", "VERIFY_ROUNDTRIP"):
        monkeypatch.setenv(f"COVECTOR_{name}", "1")
    monkeypatch.setenv("COVECTOR_DISABLE", "grad")
    monkeypatch.setenv("COVECTOR_STOP_AFTER", "0")
    monkeypatch.setenv("COVECTOR_PRINT_TO", str(tmp_path / "steps"))
    assert jnp.allclose(covector.grad(loss)(X), jax.grad(loss)(X))
    said = capsys.readouterr().err
    assert "pullback equations" in said and "round trip" in said
    files = sorted(p.name for p in (tmp_path / "steps").iterdir())
    assert files[:2] == ["000_input.cvir", "001_grad.cvir"]
    assert covector.load(tmp_path / "steps" / "001_grad.cvir").main.name.endswith(".grad")
    monkeypatch.setenv("COVECTOR_PRINT_TO", str(Path(__file__) / "no-folder"))
    with pytest.raises(covector.CovectorError, match="cannot write to"):
        covector.grad(loss)(X)


# -- failures --------------------------------------------------------------------------------------


@pytest.fixture
def broken() -> Iterator[None]:
    """The derivative of sin raises."""

    def rule(b: Any, eqn: Any, tangents: Any) -> Any:
        raise KeyError("deep inside")

    load_all()
    with mock.patch.dict(tables.jvp.rules, {PRIMITIVES["sin"]: rule}):
        yield


FAILING: list[tuple[Callable[[], Any], str]] = [
    (lambda: covector.grad(loss)(X), "grad"),
    (lambda: covector.jit(covector.grad(loss))(X), "grad"),
    (lambda: covector.jit(lambda x: covector.jit(covector.grad(loss))(x).sum())(X), "grad"),
    (lambda: covector.grad(along_a_scan)(X), "grad"),
    (lambda: covector.jvp(loss, (X,), (X,)), "jvp"),
    (lambda: covector.vjp(loss, X), "linearize"),
    (lambda: covector.compile(covector.grad(loss), X), "grad"),
    (lambda: jax.jit(covector.grad(loss))(X), "grad"),
]


@pytest.mark.parametrize(("call", "step"), FAILING)
def test_a_failure_names_equation_and_reproducer(
    call: Callable[[], Any],
    step: str,
    broken: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVECTOR_REPRODUCER", "failed.cvir")
    with pytest.raises(KeyError, match="deep inside") as error:
        call()
    notes = error.value.__notes__
    assert notes[0] == f"{step} failed with KeyError: 'deep inside'"
    assert any("test_watched.py" in note and note.strip().startswith("at ") for note in notes)
    assert sum("covector opt --run-reproducer failed.cvir" in note for note in notes) == 1
    with pytest.raises(SystemExit) as exit_:
        cli.main(["opt", "--run-reproducer", "failed.cvir"])
    assert exit_.value.code == 1
    assert f"{step} failed with KeyError: 'deep inside'" in capsys.readouterr().err


def test_shown_and_failing(
    broken: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COVECTOR_REPRODUCER", str(tmp_path / "failed.cvir"))
    monkeypatch.setenv("COVECTOR_PRINT_AFTER_FAILURE", "1")
    with pytest.raises(KeyError, match="deep inside") as error:
        covector.grad(loss)(X)
    assert any("--run-reproducer" in note for note in error.value.__notes__)
    assert "IR Dump After grad Failed" in capsys.readouterr().err


def test_where_a_reproducer_cannot_be_written(
    broken: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("COVECTOR_REPRODUCER", str(tmp_path / "no" / "folder.cvir"))
    with pytest.raises(KeyError) as error:
        covector.grad(loss)(X)
    (file,) = tmp_path.iterdir()  # the temporary folder instead
    assert any(str(file) in note for note in error.value.__notes__)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(KeyError) as error:
        covector.grad(loss)(X)
    assert not any("reproducer" in note for note in error.value.__notes__)
    assert any("raised at" in note for note in error.value.__notes__)


def test_errors_of_users_are_theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COVECTOR_REPRODUCER", str(tmp_path / "failed.cvir"))

    @covector.custom_jvp
    def f(x: Any) -> Any:
        return x

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as error:
        covector.grad(f)(1.0)
    assert not hasattr(error.value, "__notes__")
    with pytest.raises(TypeError):  # refused, as by JAX
        covector.grad(lambda x: x)(X)
    assert list(tmp_path.iterdir()) == []
