"""What a wheel holds, and what the package shows."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import covector

ROOT = Path(__file__).parent.parent
NOT_SHIPPED = {"tests", "benchmarks", "examples", "docs", "build", "dist"}


def packages_on_disk() -> Iterator[str]:
    yield "covector"
    for folder in sorted(ROOT.iterdir()):
        if folder.name not in NOT_SHIPPED and not folder.name.startswith("."):
            for file in folder.rglob("*.py"):
                yield ".".join(["covector", *file.parent.relative_to(ROOT).parts])


def test_every_folder_of_code_is_shipped() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert setuptools["packages"] == sorted(set(packages_on_disk()))
    assert (ROOT / "py.typed").exists()


def test_every_package_has_an_init() -> None:
    folders = {ROOT.joinpath(*name.split(".")[1:]) for name in packages_on_disk()}
    assert not [str(f) for f in folders if not (f / "__init__.py").exists()]


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    imports = [
        (node.module, name.name)
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    assert sorted(imports) == sorted((home, n) for home, ns in covector._HOME.items() for n in ns)


@pytest.mark.smoke
def test_public_names_are_listed() -> None:
    assert {"grad", "jit", "make_ir", "parse", "passes"} <= set(dir(covector))


@pytest.mark.smoke
def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'gradd'; did you mean grad"):
        getattr(covector, "gradd")  # noqa: B009 - a checker of types would object to covector.gradd
