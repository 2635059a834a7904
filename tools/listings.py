"""What there is: tables of the passes and of the primitives."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import fields
from typing import Any

import click

from ..ir.primitive import Primitive
from .options import JSON, LOAD
from .output import write
from .targets import load_files


@click.command()
@LOAD
@JSON
def passes(load: tuple[str, ...], as_json: bool) -> None:
    """List the passes with their options and laws."""
    load_files(load)
    write(pass_listing(as_json), None)


@click.command()
@JSON
def primitives(as_json: bool) -> None:
    """List the primitives and which layers know them."""
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


def primitive_rows() -> list[dict[str, Any]]:
    """A row for each primitive: family, and for each layer how it is known there."""
    from .. import passes
    from ..ir.interpret import meanings
    from ..ir.primitive import PRIMITIVES
    from ..lowering import rules as lowering_rules
    from ..lowering.tables import lower
    from ..passes.tables import batch, jvp, transpose

    del passes, lowering_rules  # imported for the rules that they enter
    rows: list[dict[str, Any]] = []
    for name in sorted(PRIMITIVES):
        p = PRIMITIVES[name]
        rows.append(
            {
                "primitive": name,
                "family": p.family,
                "meaning": _known(meanings.get(p)),
                "jvp": _derivative(p, jvp.get(p)),
                "transpose": _transposition(p, transpose.get(p)),
                "batch": _known(batch.get(p)),
                "lower": _known(lower.get(p)),
            }
        )
    columns = ("meaning", "jvp", "transpose", "batch", "lower")
    for name in ("foreign", *_foreign_primitives()):
        row = {"primitive": name, "family": "foreign"}
        rows = [r for r in rows if r["primitive"] != name]
        rows.append({**row, **dict.fromkeys(columns, "falls back")})
    return rows


def _foreign_primitives() -> list[str]:
    """Those that someone else defined, of which this process has recorded one."""
    recorder = sys.modules.get(f"{__package__.rpartition('.')[0]}.frontend.foreign")
    return sorted(recorder.MET) if recorder is not None else []


def _known(rule: Any) -> str:
    return "native" if rule is not None else "-"


def _derivative(p: Primitive, rule: Any) -> str:
    return "zero" if p.not_differentiable else _known(rule)


def _transposition(p: Primitive, rule: Any) -> str:
    return "native" if rule is not None else ("-" if p.linear_in else "not linear")


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
