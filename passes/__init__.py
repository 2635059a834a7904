"""The passes: functions from modules to modules, each also as `passes.<name>(module, **options)`."""

from __future__ import annotations

from typing import Any

from ..ir import ops
from ..ir.module import Module
from . import (
    batch,
    cse,
    dce,
    fold,
    inline,
    jvp,
    linearize,
    reverse,
    rules,
    transpose,
)
from .base import PASSES, Pass, find_pass, make_pass
from .pipeline import Pipeline, parse_pipeline, run_passes

__all__ = [
    "PASSES",
    "Pass",
    "Pipeline",
    "apply",
    "find_pass",
    "make_pass",
    "ops",
    "parse_pipeline",
    "rules",
    "run_passes",
]


def apply(name: str, module: Module, **options: Any) -> Module:
    """Run one pass by name, verify the result: `apply("jvp", module, wrt=0)`."""
    return Pipeline((make_pass(name, options),)).run(module)
