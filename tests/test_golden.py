"""The texts in tests/golden: a program, the command line to run on it, and all that this prints.

The same test interprets the programs before and after each pass and checks the pass's law on them.
Files in `golden/errors` pin exit status and message instead.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import covector
from covector.ir.interpret import evaluate
from covector.passes import Pipeline
from covector.tools import cli
from covector.tools.checking import check_step
from covector.tools.data import finite_inputs

GOLDEN = Path(__file__).parent / "golden"
RUN = "// RUN: covector "
FILES = sorted(
    file.relative_to(GOLDEN).as_posix()
    for file in GOLDEN.rglob("*.cvir")
    if file.read_text(encoding="utf-8").startswith(RUN)
)
SEPARATOR = "// -----\n"


def run_line(text: str, file: str) -> list[str]:
    """The arguments of the first line: `// RUN: covector opt --passes jvp %s`."""
    line = text.splitlines()[0]
    return [file if word == "%s" else word for word in shlex.split(line.removeprefix(RUN))]


def run_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command, run in this process."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def as_comments(text: str) -> str:
    return "".join(f"// {line}".rstrip() + "\n" for line in text.splitlines())


@pytest.mark.smoke
@pytest.mark.parametrize("path", FILES)
def test_golden(
    path: str,
    golden: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = (GOLDEN / path).read_text(encoding="utf-8").partition(SEPARATOR)[0]
    name = Path(path).name  # the command sees this name alone, wherever the tests are
    (tmp_path / name).write_text(given, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVECTOR_REPRODUCER", "off")
    arguments = run_line(given, name)
    status, out, err = run_command(arguments, capsys)
    if path.startswith("errors/"):
        assert status in (1, 2) and not out
        golden(path, f"{given}{SEPARATOR}{as_comments(f'exit status {status}' + chr(10) + err)}")
        return
    assert (status, err) == (0, "")
    golden(path, given + SEPARATOR + out)
    assert str(covector.parse(out)) == out
    check_laws(given, arguments[arguments.index("--passes") + 1])


def check_laws(text: str, passes: str) -> None:
    """Each pass of the pipeline does to the program what its law says."""
    module = covector.parse(text)
    arrays = finite_inputs(module.main, 0, evaluate)
    for step in Pipeline.of(passes).passes:
        after = step.run(module)
        findings = check_step(step, module, after, arrays)
        assert findings is not None, f"the law of {step} is not one that is checked"
        assert findings
        for finding in findings:
            assert finding.ok, f"{step}: {finding}"
        if after.main.input_types != module.main.input_types:
            arrays = finite_inputs(after.main, 0, evaluate)
        module = after


def test_every_pass_has_a_golden() -> None:
    folders = {Path(file).parts[0] for file in FILES} - {"errors"}
    assert folders >= set(covector.passes.PASSES)
