"""A pytest plugin: test modules of a JAX checkout see covector's transformations in JAX's place.

Only what a test module imports is replaced. JAX's own modules stay as they are, so that a failure
is about a transformation, not about a library that was half replaced. `jax.test_util` and the base
class of JAX's tests are part of the tests: their transformations are replaced, too.

The environment says how: JAX_TESTS is the folder of the tests, COVECTOR_REPLACE a list of the names
to replace ("" for none: the tests as they are), COVECTOR_RESULTS a file for a line of JSON a test.
"""

from __future__ import annotations

import builtins
import functools
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax._src.ad_checkpoint
import jax._src.api
import jax._src.custom_derivatives
import jax._src.public_test_util
import jax._src.test_util
import jax.ad_checkpoint
import jax.custom_derivatives
import pytest

import covector

NAMES = (
    "checkpoint", "closure_convert", "custom_gradient", "custom_jvp", "custom_vjp", "eval_shape",
    "grad", "hessian", "jacfwd", "jacobian", "jacrev", "jit", "jvp", "linear_transpose",
    "linearize", "remat", "stop_gradient", "value_and_grad", "vjp", "vmap",
)  # fmt: skip
PROXIED = (
    "jax", "jax._src", "jax._src.ad_checkpoint", "jax._src.api", "jax._src.custom_derivatives",
    "jax.ad_checkpoint", "jax.custom_derivatives",
)  # fmt: skip


def replacements() -> dict[int, Any]:
    """Covector's transformations by the identities of JAX's; those in $COVECTOR_REPLACE only."""
    chosen = os.environ.get("COVECTOR_REPLACE")
    found = {}
    for name in NAMES if chosen is None else filter(None, chosen.split(",")):
        for home in (jax, jax._src.api, jax.ad_checkpoint, jax.custom_derivatives, jax.lax):
            if hasattr(home, name) and hasattr(covector, name):
                found[id(getattr(home, name))] = getattr(covector, name)
    return found


class Proxy(ModuleType):
    """A module of JAX's in which some functions are covector's."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__, module.__doc__)
        object.__setattr__(self, "_module", module)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return ModuleType
        module = object.__getattribute__(self, "_module")
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            return proxy(value)
        return REPLACED.get(id(value), value)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_module"), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "_module"), name)


REPLACED = replacements()
_PROXIES: dict[str, Proxy] = {}


def proxy(module: ModuleType) -> ModuleType:
    """The module as tests see it."""
    name = module.__name__
    if name not in PROXIED:
        return module
    if name not in _PROXIES:
        _PROXIES[name] = Proxy(module)
    return _PROXIES[name]


def importing(name: str, *args: Any, **kwargs: Any) -> Any:
    """What `import` calls in a test module."""
    return proxy(builtins.__import__(name, *args, **kwargs))


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a test module whose imports give covector's transformations."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": importing}
        super().exec_module(module)


class Finder:
    """Finds the modules in the folder of JAX's tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self.folder / f"{name.rpartition('.')[2]}.py"
        if not file.is_file():
            return None
        return importlib.util.spec_from_file_location(name, file, loader=Loader(name, str(file)))


@functools.cache
def install() -> None:
    """Replace the transformations in tests, and in the helpers that they are written with."""
    sys.meta_path.insert(0, Finder(Path(os.environ["JAX_TESTS"])))
    for helpers in (jax._src.public_test_util, jax._src.test_util):
        for name, value in list(vars(helpers).items()):
            if isinstance(value, ModuleType):
                setattr(helpers, name, proxy(value))
            elif id(value) in REPLACED:
                setattr(helpers, name, REPLACED[id(value)])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the outcome of a test at once, so that a run that is cut short tells what it knows."""
    results = os.environ.get("COVECTOR_RESULTS")
    if results is None or (report.when != "call" and report.outcome == "passed"):
        return
    line = {
        "test": report.nodeid.rpartition("::")[0].rpartition("::")[2]
        + "."
        + report.nodeid.rpartition("::")[2],
        "outcome": report.outcome,
        "seconds": round(report.duration, 2),
        "text": str(report.longrepr)[-6000:] if report.outcome == "failed" else "",
    }
    with Path(results).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


install()
