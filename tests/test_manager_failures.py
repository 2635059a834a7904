"""The pass manager: verification between passes, failures and their reproducers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manager_helpers import PROGRAM, own_passes

import covector
from covector.ir.errors import PassError, VerifyError
from covector.ir.module import Module
from covector.passes import run_passes
from covector.tools import cli


@pytest.fixture(scope="module", autouse=True)
def only_here() -> Iterator[None]:
    with own_passes():
        yield


@pytest.fixture
def module() -> Module:
    return covector.parse(PROGRAM)


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
    assert "raised at " in message and "manager_helpers.py" in message
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
