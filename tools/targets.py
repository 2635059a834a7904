"""What a command works on: `file.py:function`, a program in text or `.cvir` form, or `-`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from ..ir.errors import UsageError, did_you_mean
from ..ir.module import Module
from ..ir.parser import load, parse


def read_program(source: str) -> Module:
    """A module from a file, or from standard input for `-`.

    Raises UsageError for a file that cannot be read, ParseError for one that is no program.
    """
    if source == "-":
        return parse(sys.stdin.read())
    if not Path(source).is_file():
        raise UsageError(f"there is no file {source}")
    return load(source)


def read_target(target: str, args: str | None = None) -> Module:
    """The module of a target; a Python function is traced for `args` or the file's example ones."""
    path, colon, function = target.rpartition(":")
    if colon and path.endswith(".py"):
        return trace_function(path, function, args)
    if target.endswith(".py"):
        raise UsageError(f"name the function of {target} to trace: {target}:FUNCTION")
    if args is not None:
        raise UsageError("--args goes with a Python function; a program's inputs have types")
    return read_program(target)


def trace_function(path: str, name: str, args: str | None) -> Module:
    """Trace a function of a Python file.

    Its arguments are those of the specification `args`, else those that the file's `example_args()`
    returns under the function's name.
    """
    from ..frontend.api import make_ir

    module = import_file(path)
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UsageError(f"{path} has no function {name!r}", hint=did_you_mean(name, known))
    if args is not None:
        return make_ir(function)(*parse_args(args))
    examples = module.example_args() if hasattr(module, "example_args") else {}
    if name not in examples:
        raise UsageError(
            f"which arguments shall {name} be traced for?",
            hint='give --args "f32[8,128], i32[8]", or have the file define example_args(), '
            "returning {function name: arguments}",
        )
    return make_ir(function)(*examples[name])


def import_file(path: str) -> Any:
    """Import a Python file as a module of its own, with its folder on the path."""
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"there is no file {path}")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def parse_args(text: str) -> list[Any]:
    """Argument types from their text: `f32[8,128], i32[8]`. Raises UsageError."""
    import jax

    return [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in parse_types(text)]


def parse_types(text: str) -> list[tuple[tuple[int, ...], Any]]:
    """Shapes and dtypes from their text."""
    from ..ir.types import DTYPE_BY_NAME

    found = []
    for part in filter(None, (p.strip() for p in text.replace("]", "];").split(";"))):
        spelled = part.lstrip(", ")
        name, bracket, rest = spelled.partition("[")
        if name not in DTYPE_BY_NAME:
            raise UsageError(
                f"{name!r} in {text!r} is no dtype", hint=did_you_mean(name, DTYPE_BY_NAME)
            )
        lengths = rest.rstrip("]").split(",") if rest.rstrip("] ") else []
        if not bracket or not all(n.strip().isdigit() for n in lengths):
            raise UsageError(f"{spelled!r} is no type; write dtype[lengths], like f32[8,128]")
        found.append((tuple(int(n) for n in lengths), DTYPE_BY_NAME[name]))
    if not found:
        raise UsageError("--args is empty; give types like f32[8,128], i32[]")
    return found
