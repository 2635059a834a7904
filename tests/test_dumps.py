"""Dumps in the form that readers of MLIR's dumps take: Compiler Explorer's among them.

The form, as its `mlir-pass-dump-parser` reads it: what stands above the first banner is no dump; a
banner is a line by itself, `IR Dump Before` or `After` and a name between `// -----//` and
`//----- //`; what follows, up to the next banner, is the program. A dump after a pass belongs to
the first dump before a pass of the same name that is not yet taken, and they differ if any line
does.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import covector
from covector.passes.pipeline import parse_pipeline

BANNER = re.compile(r"// -----// IR Dump (Before|After) (.+) //----- //")
PROGRAM = """func @f(x: f32[3]) -> (f32[]) {
  a: f32[3] = sin x    // m.py:1:1
  b: f32[3] = sin x    // m.py:2:1
  c: f32[3] = mul a b    // m.py:3:1
  y: f32[] = reduce_sum[axes=(0,)] c    // m.py:4:1
  return y
}
"""
PASSES = "cse,dce,grad{wrt=0},clean,cse"


@dataclass(frozen=True)
class Step:
    name: str
    before: Sequence[str]
    after: Sequence[str]

    @property
    def is_changed(self) -> bool:
        return self.before != self.after


def dumps(text: str) -> list[tuple[str, str, list[str]]]:
    """When, name and lines of each dump, blank lines apart."""
    found: list[tuple[str, str, list[str]]] = []
    for line in text.splitlines():
        banner = BANNER.fullmatch(line)
        if banner:
            found.append((banner[1], banner[2], []))
        elif found and line.strip():
            found[-1][2].append(line)
    return found


def steps(text: str) -> list[Step]:
    before = [(name, lines) for when, name, lines in dumps(text) if when == "Before"]
    found = []
    for when, name, lines in dumps(text):
        if when == "After":
            pair = next(pair for pair in before if pair[0] == name)
            before.remove(pair)
            found.append(Step(name, pair[1], lines))
    return found


def check(read: Sequence[Step], module: covector.Module) -> None:
    """The steps are those of the pipeline, and each dump is the program at that step."""
    passes = parse_pipeline(PASSES)
    assert [step.name for step in read] == [str(step) for step in passes]
    for step, seen in zip(passes, read, strict=True):
        assert covector.parse("\n".join(seen.before)) == module
        module = step.run(module)
        assert covector.parse("\n".join(seen.after)) == module
    assert all(a.after == b.before for a, b in itertools.pairwise(read))


def test_dumps_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "f.cvir").write_text(PROGRAM)
    command = [sys.executable, "-m", "covector.tools.cli", "opt", "f.cvir", "--passes", PASSES]
    result = subprocess.run(
        [*command, "--print-before-all", "--print-after-all", "-o", "out.cvir"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    read = steps(result.stderr)
    check(read, covector.parse(PROGRAM))
    assert [step.is_changed for step in read] == [True, False, True, False, False, True, False]


def test_dumps_of_a_python_program(capsys: pytest.CaptureFixture[str]) -> None:
    module = covector.parse(PROGRAM)
    covector.run_passes(module, PASSES, print_before_all=True, print_after_all=True)
    check(steps("what the program says before\n" + capsys.readouterr().err), module)


def test_a_failed_pass_has_a_dump(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(covector.CovectorError):
        covector.run_passes(
            covector.parse(PROGRAM),
            "cse,transpose",
            print_after_failure=True,
            reproducer="off",
        )
    ((when, name, lines),) = dumps(capsys.readouterr().err)
    assert (when, name) == ("After", "transpose Failed")
    assert covector.parse("\n".join(lines)) == covector.run_passes(covector.parse(PROGRAM), "cse")
