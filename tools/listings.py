"""What there is: tables of the passes and of the primitives."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from typing import Any, Final

import click

from ..ir.primitive import Primitive
from .options import JSON, LOAD
from .output import write
from .targets import load_files


@click.command()
@LOAD
@JSON
def passes(load: tuple[str, ...], as_json: bool) -> None:
    """List the passes with their options and laws.

    Example: covector passes --load my_passes.py
    """
    load_files(load)
    write(pass_listing(as_json), None)


@click.command()
@JSON
def primitives(as_json: bool) -> None:
    """List the primitives and which layers know them.

    Example: covector primitives --json
    """
    write(primitive_listing(as_json), None)


def pass_rows() -> list[dict[str, Any]]:
    """Each pass: name, what it does, its law, its options with their defaults."""
    from ..passes import PASSES

    return [
        {
            "pass": name,
            "summary": (inspect.getdoc(cls) or "").splitlines()[0],
            "law": cls.law,
            "options": [
                {"name": o.name, "type": str(o.type), "default": o.default} for o in fields(cls)
            ],
        }
        for name, cls in sorted(PASSES.items())
    ]


def pass_listing(as_json: bool) -> str:
    """The passes as a list, or as JSON."""
    rows = pass_rows()
    if as_json:
        return json.dumps(rows, indent=1)
    lines = []
    for row in rows:
        lines += [f"{row['pass']}: {row['summary']}", f"    law: {row['law']}"]
        lines += [f"    {o['name']}: {o['type']} = {o['default']}" for o in row["options"]]
    return "\n".join(lines)


NULLARY: Final = ("constant", "empty", "empty2", "iota", "iota_2x32_shape")
"""What takes no operands is the same in each example."""

RULES: Final = frozenset(("jvp", "transpose", "batch"))
KINDS: Final = ("native", "foreign", "refused")
LAYERS: Final = ("meaning", "jvp", "transpose", "batch", "lower")


def primitive_rows() -> list[dict[str, Any]]:
    """A row for each primitive: ours with how each layer knows it, then JAX's that are not ours."""
    from ..frontend import foreign
    from ..frontend.coverage import coverage
    from ..ir.primitive import PRIMITIVES

    ours = [p for name, p in sorted(PRIMITIVES.items()) if p.family != "foreign"]
    listed, _ = coverage()
    told = {row.primitive for row in listed}
    all_fall_back = dict.fromkeys(LAYERS, "falls back")
    return [
        *(_native(p) for p in ours),
        *(_row(name, "foreign", all_fall_back, "someone else's")
          for name in sorted(foreign.MET - told)),
        *(_of_jax(row) for kind in KINDS for row in listed
          if row.kind == kind and row.primitive.replace("-", "_") not in PRIMITIVES),
    ]  # fmt: skip


def _of_jax(row: Any) -> dict[str, Any]:
    """The row of a primitive of JAX's that is not ours by this name."""
    if row.kind == "foreign":
        layers = {
            layer: "none in JAX" if layer in RULES - row.registered else "falls back"
            for layer in LAYERS
        }
    else:
        layers = dict.fromkeys(LAYERS, "native" if row.kind == "native" else "refuses")
    return _row(row.primitive, "JAX", layers, row.note)


def _row(name: str, family: str, layers: dict[str, str], note: str) -> dict[str, Any]:
    return {"primitive": name, "family": family, **layers, "note": note}


def _native(p: Primitive) -> dict[str, Any]:
    from .. import passes
    from ..ir.interpret import meanings
    from ..lowering.tables import lower
    from ..passes.tables import batch, jvp, transpose

    del passes  # imported for the rules that it enters
    layers = {
        "meaning": _known(meanings.get(p)),
        "jvp": "zero" if p.not_differentiable else _known(jvp.get(p)),
        "transpose": _transposition(p, transpose.get(p)),
        "batch": _batching(p, batch.get(p)),
        "lower": _known(lower.get(p)),
    }
    note = f"no derivative: {p.not_differentiable}" if p.not_differentiable else ""
    return _row(p.name, p.family, layers, note)


def _known(rule: Any) -> str:
    return "native" if rule is not None else "-"


def _transposition(p: Primitive, rule: Any) -> str:
    return "native" if rule is not None else ("-" if p.linear_in else "not linear")


def _batching(p: Primitive, rule: Any) -> str:
    return "native" if rule is not None else ("no operands" if p.name in NULLARY else "-")


def primitive_listing(as_json: bool) -> str:
    """The rows as an aligned table, or as JSON."""
    rows = primitive_rows()
    if as_json:
        return json.dumps(rows, indent=1)
    header = list(rows[0])
    table = [header, *([str(row[column]) for column in header] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
