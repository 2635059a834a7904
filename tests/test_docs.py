"""The pages of the commands: one for each, and what it shows is what its examples print."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from covector.passes import PASSES
from covector.tools import cli
from covector.tools.opt import opt

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "commands"
EXAMPLE = re.compile(
    r"<!-- output of: covector ([^\n]+?)((?: \(exit (\d)\))?)((?: 2>&1)?) -->\n```[a-z]*\n(.*?)```",
    re.DOTALL,
)


def examples() -> Iterator[tuple[str, str, int, bool, str]]:
    for page in sorted(PAGES.glob("*.md")):
        for command, _, status, both, shown in EXAMPLE.findall(page.read_text("utf-8")):
            yield page.stem, command, int(status or 0), bool(both), shown


def printed(command: str, both: bool) -> tuple[int, str]:
    out, errors = io.StringIO(), io.StringIO()
    if both:
        errors = out
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as exit,
    ):
        cli.main(shlex.split(command))
    return int(exit.value.code or 0), out.getvalue()


@pytest.fixture(autouse=True)
def passes_of_pages_are_forgotten() -> Iterator[None]:
    known = dict(PASSES)
    yield
    PASSES.clear()
    PASSES.update(known)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the pages show what JAX 0.10 traces")
@pytest.mark.parametrize("page", sorted({page for page, *_ in examples()}))
def test_examples_print_what_the_page_shows(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name, command, status, both, shown in examples():
        if name == page:
            got, text = printed(command, both)
            assert (got, text.strip()) == (status, shown.strip()), command


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_page(command: str) -> None:
    text = (PAGES / f"{command}.md").read_text("utf-8")
    assert text.startswith(f"# covector {command}\n") and "<!-- output of: " in text
    assert f"\n{command}\n" in (PAGES / "index.md").read_text("utf-8")


def test_what_the_comparison_names_is_there() -> None:
    """Every switch and command that the column of covector names exists."""
    rows = (PAGES / "comparison.md").read_text("utf-8").splitlines()
    cells = [row.split("|")[2] for row in rows if row.startswith("| ")]
    named = [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]
    known = {name for p in opt.params for name in (*p.opts, *p.secondary_opts)}
    for word in named:
        first, *rest = word.split()
        if first == "covector":
            assert rest[0] in cli.COMMANDS, word
        elif first.startswith("--"):
            assert first.partition("=")[0] in known, word


# -- errors that comments foresee ------------------------------------------------------------------

BAD = "func @f(x: f32[3], y: f32[4]) -> (f32[3]) {\n  z: f32[3] = add x y%s\n  return z\n}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BAD % "  // expected-error {{broadcast the shapes}}", ""),
        ("// expected-error @+2 {{cannot broadcast}}\n" + BAD % "", ""),
        (BAD % "\n  // expected-error @above {{cannot}}", ""),
        (BAD % "", "line 2: unexpected error: add cannot"),
        (BAD % "  // expected-error {{no such thing}}", "line 2: no error says 'no such thing'"),
        (BAD % "\n  // expected-error {{cannot}}", "line 3: no error says 'cannot'"),
        (BAD % "  // expected-error", "expected-error on line 2 says no text"),
        (
            "func @f(x: f32[]) -> (f32[]) {\n  y: f32[] = sinn x  // expected-error {{sinn}}\n}\n",
            "",
        ),
        (
            "func @f(x: f32[]) -> (f32[]) {\n  return x\n  // expected-error {{x}}\n}\n",
            "line 3: no",
        ),
    ],
)
def test_foreseen_errors(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "p.cvir"
    file.write_text(text)
    status, out = printed(f"opt {file} --verify-diagnostics", both=True)
    assert bool(status) == bool(said)
    assert (said in out) if said else out == ""


def test_foreseen_errors_of_parts(tmp_path: Path) -> None:
    file = tmp_path / "p.cvir"
    good = BAD % "  // expected-error {{cannot broadcast}}"
    file.write_text(f"{good}// -----\n{good}// -----\n{BAD % ''}")
    status, out = printed(f"opt {file} --verify-diagnostics --split-input", both=True)
    assert status == 1 and len(out.splitlines()) == 1 and "line 12: unexpected error" in out
