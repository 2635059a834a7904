"""What a command works on: `file.py:function`, a program in text or `.cvir` form, or `-`."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.errors import CovectorError, UsageError, did_you_mean
from ..ir.graph import Location
from .progress import say

if TYPE_CHECKING:
    from ..ir.module import Module

STANDARD_INPUT = "<stdin>"
_SPELLED = re.compile(r"(\w+)\[((?:\s*\d+\s*,)*\s*\d+\s*|\s*)\]")


class TraceError(CovectorError, ValueError):
    """A Python function could not be traced: the claim says why, the place is in its source."""


# -- programs ------------------------------------------------------------------------------------


def read_program(source: str, *, verify: bool = True) -> Module:
    """A module from a file, or from standard input for `-`.

    Raises UsageError for a file that cannot be read, ParseError for one that is no program.
    """
    from ..ir.files import load
    from ..ir.parser import parse

    if source == "-":
        return parse(read_text(source), file=STANDARD_INPUT, verify=verify)
    _check_file(source)
    return load(source, verify=verify)


def read_text(source: str) -> str:
    """The text of a file, or of standard input for `-`. Raises UsageError."""
    try:
        if source == "-":
            return sys.stdin.read()
        _check_file(source)
        return Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is not text in UTF-8: {error.reason}") from None


def _check_file(source: str) -> None:
    path = Path(source)
    if path.is_dir():
        raise UsageError(f"{source} is a folder")
    if not path.exists():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"there is no file {source}", hint=did_you_mean(path.name, near))


def read_target(target: str, args: str | None = None) -> Module:
    """The module of a target; a Python function is traced for `args` or the file's example ones."""
    path, colon, function = target.rpartition(":")
    if colon and path.endswith(".py"):
        return trace_function(path, function, args)
    if target.endswith(".py"):
        raise UsageError(
            f"which function of {target} shall be traced?", hint=f"write {target}:FUNCTION"
        )
    if args is not None:
        raise UsageError("--args goes with a Python function; a program's inputs have types")
    return read_program(target)


def read_target_with_inputs(target: str, args: str | None) -> tuple[Module, list[Any] | None]:
    """The module of a target, and the arrays that its file's `example_args()` gives for it.

    None in their place if there are no such examples, or only types.
    """
    path, colon, function = target.rpartition(":")
    if not (colon and path.endswith(".py")) or args is not None:
        return read_target(target, args), None
    module = trace_function(path, function, None)
    import jax

    leaves = jax.tree.leaves(list(example_arguments(import_file(path), path, function)))
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in leaves):
        return module, None
    return module, leaves


def transformed(module: Module, passes: str, switches: Mapping[str, Any]) -> Module:
    """The module after a pipeline, run as the switches say."""
    from ..passes.pipeline import run_passes

    return run_passes(module, passes, **switches)


# -- Python files --------------------------------------------------------------------------------


def trace_function(path: str, name: str, args: str | None) -> Module:
    """Trace a function of a Python file.

    Its arguments are those of the specification `args`, else those that the file's `example_args()`
    returns under the function's name. Raises TraceError where the file or the function raises.
    """
    say(f"tracing {name}")
    module = import_file(path)
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UsageError(f"{path} has no function {name!r}", hint=did_you_mean(name, known))
    arguments = parse_args(args) if args is not None else example_arguments(module, path, name)
    from ..frontend.modules import make_ir

    try:
        traced: Module = make_ir(function)(*arguments)
    except CovectorError:
        raise
    except Exception as error:
        raise _trace_error(f"{name} cannot be traced", error, path) from error
    return traced


def example_arguments(module: Any, path: str, name: str) -> Sequence[Any]:
    """The arguments that a file's `example_args()` gives for a function. Raises UsageError."""
    if not hasattr(module, "example_args"):
        raise UsageError(
            f"which arguments shall {name} be traced for?",
            hint='give --args "f32[8,128], i32[8]", or have the file define example_args(), '
            "returning {function name: arguments}",
        )
    try:
        examples = module.example_args()
    except Exception as error:
        raise _trace_error("example_args() failed", error, path) from error
    if name not in examples:
        hint = did_you_mean(name, examples) or f"it has some for {', '.join(examples) or 'none'}"
        raise UsageError(f"example_args() of {path} has no arguments for {name!r}", hint=hint)
    arguments: Sequence[Any] = examples[name]
    return arguments


def import_file(path: str) -> Any:
    """Import a Python file as a module of its own, with its folder on the path."""
    file = Path(path)
    _check_file(path)
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _trace_error(f"{path} cannot be imported", error, path) from error
    return module


def load_files(paths: Iterable[str]) -> None:
    """Import Python files for what they define: passes and primitives of the user's own."""
    for path in paths:
        import_file(path)


def _trace_error(claim: str, error: Exception, path: str) -> TraceError:
    """What a user's function raised, in one sentence, at the line of the user's that raised it."""
    lines = [line.strip() for line in str(error).split("\n\n")[0].splitlines()]
    said = " ".join(filter(None, lines))
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if _same_file(f.filename, path)]
    location = Location(path, own[-1].lineno or 0) if own else None
    if isinstance(error, SyntaxError) and error.filename:
        said, location = error.msg, Location(error.filename, error.lineno or 0, error.offset or 0)
    return TraceError(f"{claim}: {type(error).__name__}: {said}", location=location)


def _same_file(a: str, b: str) -> bool:
    return Path(a).resolve() == Path(b).resolve()


# -- types on the command line -------------------------------------------------------------------


def parse_args(text: str) -> list[Any]:
    """Argument types from their text: `f32[8,128], i32[8]`. Raises UsageError."""
    types = parse_types(text)
    import jax

    return [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in types]


def parse_types(text: str) -> list[tuple[tuple[int, ...], Any]]:
    """Shapes and dtypes from their text."""
    from ..ir.types import DTYPE_BY_NAME

    found = []
    for part in filter(None, (p.strip(", ") for p in text.replace("]", "];").split(";"))):
        match = _SPELLED.fullmatch(part)
        if match is None:
            raise UsageError(f"{part!r} is no type", hint="types look like f32[8,128] or i32[]")
        name, lengths = match.groups()
        if name not in DTYPE_BY_NAME:
            known = ", ".join(("f32", "bf16", "i32", "bool", "c64"))
            hint = did_you_mean(name, DTYPE_BY_NAME) or f"dtypes are {known} and others"
            raise UsageError(f"{name!r} in {text!r} is no dtype", hint=hint)
        shape = tuple(int(n) for n in lengths.split(",")) if lengths.strip() else ()
        found.append((shape, DTYPE_BY_NAME[name]))
    if not found:
        raise UsageError("--args is empty", hint="types look like f32[8,128] or i32[]")
    return found
