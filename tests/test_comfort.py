"""Colours, notebooks, completion, progress: what makes the tools pleasant."""

from __future__ import annotations

import html
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from test_golden import FILES, GOLDEN
from text_samples import example

import covector
from covector.tools import cli, progress
from covector.tools.highlight import CovectorLexer, in_terminal

PROGRAM = """module @main {
  func @f(x: f32[3]) -> (f32[3]) {
    y: f32[3] = call[graph=@g] x          // m.py:3:4
    return y
  }

  func private @g(x: f32[3]) -> (f32[3]) {
    w: f32[3] = constant[value=$w]
    z: f32[3] = mul x w                   // m.py:4:4
    return z
  }

  constant $w: f32[3] = dense [0.0, 1.0, 2.0]
}
"""


def tokens(text: str) -> list[tuple[str, str]]:
    lexer = CovectorLexer(stripnl=False, ensurenl=False)
    return [(str(kind), value) for kind, value in lexer.get_tokens(text)]


# -- colours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [f for f in FILES if not f.startswith("errors/")])
def test_every_token_of_a_program_is_known(file: str) -> None:
    text = (GOLDEN / file).read_text(encoding="utf-8")
    found = tokens(text)
    assert "".join(value for _, value in found) == text
    assert not [value for kind, value in found if kind in ("Token.Text", "Token.Error")]


def test_the_example_is_lexed() -> None:
    found = dict.fromkeys(tokens(str(example())))
    for token in (
        ("Token.Keyword", "func"), ("Token.Keyword.Type", "f32[3]"),
        ("Token.Comment.Single", "// mlp.py:12:8"), ("Token.Name.Builtin", "integer_pow"),
    ):  # fmt: skip
        assert token in found


def test_the_terminal_shows_the_text_itself() -> None:
    coloured = in_terminal(PROGRAM)
    assert "\x1b[32mcall\x1b" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == PROGRAM


def test_pygments_is_told_of_the_lexer() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    place = project["project"]["entry-points"]["pygments.lexers"]["covector"]
    module, _, name = place.partition(":")
    assert getattr(importlib.import_module(module), name) is CovectorLexer


# -- notebooks -------------------------------------------------------------------------------------


def test_notebooks_show_a_collapsible_listing() -> None:
    module = covector.parse(PROGRAM)
    page = module._repr_html_()
    assert "<summary>module @main: 2 functions, 3 equations</summary>" in page
    assert page.count("<details") == 4 and page.count("</details>") == 4  # all, @f, @g, constants
    assert "<script" not in page and "http" not in page
    body = re.sub(r"<style>.*?</style>|<[^>]*>", "", page, flags=re.DOTALL)
    shown = "".join(html.unescape(body).split())
    for line in PROGRAM.splitlines()[1:-1]:
        assert "".join(line.split()) in shown


def test_a_long_listing_is_cut() -> None:
    lines = "".join(f"  v{i}: f32[] = sin {f'v{i - 1}' if i else 'x'}\n" for i in range(3000))
    module = covector.parse(f"func @f(x: f32[]) -> (f32[]) {{\n{lines}  return v2999\n}}\n")
    page = module._repr_html_()
    assert "lines more" in page and len(page) < 200_000


# -- completion ------------------------------------------------------------------------------------


def complete(words: str) -> list[str]:
    environment = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_COVECTOR_COMPLETE": "bash_complete",
    }
    code = "from covector.tools.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_completion(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("raise SystemExit\ndef loss(x): ...\ndef layer(x): ...\ndef _hidden(x): ...\n")
    assert complete("covector why") == ["why-nan"]
    assert "linearize,transpose" in complete("covector opt --passes linearize,tr")
    assert set(complete("covector opt --print-after-")) >= {
        "--print-after-all", "--print-after-change", "--print-after-failure",
    }  # fmt: skip
    assert complete(f"covector trace {file}:l") == [f"{file}:loss", f"{file}:layer"]
    assert complete("covector opt --emit st") == ["stablehlo"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    with pytest.raises(SystemExit):
        cli.main(["completion", shell, "--json"])
    data = json.loads(capsys.readouterr().out)
    assert "_covector_completion" in data["script"] and "covector completion" in data["install"]
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=data["script"], text=True, check=True)


# -- progress --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_comes_after_a_while_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress, "DELAY", 0.05)
    with progress.working("covector"):
        progress.say("checking cse", 1, 4)
        deadline = time.monotonic() + 10
        while "checking cse" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "1/4" in terminal.getvalue()
        progress.quiet()
        drawn = terminal.getvalue()
        time.sleep(0.2)
        assert terminal.getvalue() == drawn


def test_progress_is_silent_on_what_is_quick_and_in_pipes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.working("covector"):
            progress.say("tracing")
        assert stream.getvalue() == ""


def test_steps_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from covector.passes.pipeline import parse_pipeline
    from covector.tools import checking

    said: list[Any] = []
    monkeypatch.setattr(checking, "say", lambda *what: said.append(what))
    list(checking.check_pipeline(parse_pipeline("cse,dce"), covector.parse(PROGRAM)))
    assert said == [("checking cse", 0, 2), ("checking dce", 1, 2)]
