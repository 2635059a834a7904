"""Who may import whom: between the folders, and from JAX."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("ir", "passes", "lowering", "frontend", "tools")
MAY_USE_PRIVATE_JAX = re.compile(r"(frontend|lowering)/jax_compat(_\w+)?\.py")
PRIVATE_JAX = re.compile(r"jax(lib)?(\.\w+)*\._(?!_)\w+(\.\w+)*")


def sources() -> list[Path]:
    return [*ROOT.glob("*.py"), *(file for f in FOLDERS for file in (ROOT / f).rglob("*.py"))]


def test_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    lint = "from importlinter import cli; raise SystemExit(cli.lint_imports(no_cache=True))"
    result = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.smoke
@pytest.mark.parametrize("module", ["covector", "covector.ir", "covector.passes"])
def test_starts_without(module: str) -> None:
    heavy = "{'jax', 'jaxlib', 'scipy', 'click', 'rich'}"
    probe = f"import sys, {module}; print(*sorted({heavy} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert not result.stdout.split(), f"import {module} loads {result.stdout.strip()}"


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each private name of JAX: imported, reached through dots, or in a string."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                dotted = [name.name for name in names]
            case ast.ImportFrom(module=str(module), level=0, names=names):
                dotted = [f"{module}.{name.name}" for name in names]
            case ast.Attribute():
                dotted = [ast.unparse(node)]
            case ast.Constant(value=str(text)):
                dotted = [text]
            case _:
                continue
        yield from ((node.lineno, name) for name in dotted if PRIVATE_JAX.fullmatch(name))


def test_private_names_of_jax_are_in_files_of_their_own() -> None:
    found = [
        f"{path}:{line}: {name}"
        for file in sources()
        if not MAY_USE_PRIVATE_JAX.fullmatch(path := file.relative_to(ROOT).as_posix())
        for line, name in private_names(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(["private names of JAX belong in jax_compat*.py:", *found])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from jax._src import core", "jax._src.core"),
        ("import jaxlib._jax", "jaxlib._jax"),
        ("from jax import _src", "jax._src"),
        ("jax._src.config.x", "jax._src.config.x"),
        ("import_module('jax._src.core')", "jax._src.core"),
        ("from jaxlib.mlir import ir", None),
        ("jax.__version__", None),
    ],
)
def test_private_names_are_found(source: str, name: str | None) -> None:
    found = [found for _, found in private_names(ast.parse(source))]
    assert (name in found) if name else not found
