"""The report of a program as plain data, section by section.

What is not known is None, with the reason under `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..ir.errors import CovectorError
from ..ir.graph import Constant
from ..ir.module import Module
from ..ir.types import has_tangent
from ..passes.linearize import Linearize
from ..passes.residuals import Residual, residuals_of
from .plan_section import plan_of
from .repeats import repeats_of
from .silent import call_sites, silent_costs
from .spending import KEYS, line_of, measure
from .timeline import timeline_of
from .xla_figures import Figure, analyse

Data = dict[str, Any]
LARGE: Final = 1024
"""Bytes of a captured array from which on it is listed."""


def report_of(
    module: Module, sections: Sequence[str], *, xla: bool = True, budget: int | str | None = None
) -> Data:
    """The sections asked for. Reads the program only; `xla` compiles its entry too.

    The section plan is there with a memory budget only.
    """
    data: Data = {"module": module.name, "entry": module.entry, "unknown": {}}
    if "totals" in sections:
        data |= _totals(module, xla, data["unknown"])
    makers = dict(_SECTIONS)
    if budget is not None:
        makers["plan"] = lambda module: plan_of(module, budget)
    for name, make in makers.items():
        if name not in sections:
            continue
        try:
            data[name] = make(module)
        except CovectorError as error:
            data[name] = None
            data["unknown"][name] = error.claim
    return data


# -- totals ----------------------------------------------------------------------------------------


def _totals(module: Module, xla: bool, unknown: Data) -> Data:
    totals, _, uncounted = measure(module, "line")
    if uncounted:
        unknown["counts"] = f"not counted: {', '.join(uncounted)}"
    found = _analysed(module, unknown) if xla else {}
    figures = [
        Figure("flops", "flops", totals["flops"], found.get("flops"), _loops(module)),
        Figure("bytes moved", "B", totals["bytes"], found.get("bytes"),
               "counted: as if every equation went to memory; XLA fuses"),
        Figure("flops a byte", "ratio", _ratio(totals["flops"], totals["bytes"]),
               _ratio(found.get("flops"), found.get("bytes"))),
        Figure("arguments", "B", totals["input_bytes"] + totals["constant_bytes"],
               found.get("arguments"), "with captured arrays"),
        Figure("outputs", "B", totals["output_bytes"], found.get("outputs"),
               "XLA's with its table of them"),
        Figure("peak of temporaries", "B", _peak(module), found.get("temporaries")),
        Figure("code", "B", None, found.get("code")),
    ]  # fmt: skip
    return {"totals": totals, "figures": [figure.as_json() for figure in figures]}


def _loops(module: Module) -> str:
    loops = module.stats()["primitives"].keys() & {"scan", "while"}
    return "XLA counts the body of a loop once" if loops else ""


def _analysed(module: Module, unknown: Data) -> dict[str, float]:
    try:
        return analyse(module.main)
    except Exception as error:
        unknown["xla"] = f"XLA's figures: {type(error).__name__}: {str(error).splitlines()[0]}"
        return {}


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _peak(module: Module) -> float:
    return timeline_of(module.main).peak


# -- sections --------------------------------------------------------------------------------------


def _residuals(module: Module) -> Data:
    """The residuals, the largest first; those that reverse mode would keep if there is none."""
    found, of = residuals_of(module), "the program"
    if not found:
        if not any(has_tangent(t) for t in module.main.input_types):
            return {"of": of, "bytes": 0, "rows": []}
        found, of = residuals_of(Linearize().run(module)), "reverse mode, if it is asked for"
    rows = [_residual(r) for r in sorted(found, key=lambda r: -r.nbytes)]
    made = sum(r.nbytes for r in found if r.kind != "input")
    return {"of": of, "bytes": sum(r.nbytes for r in found), "made_bytes": made, "rows": rows}


def _residual(residual: Residual) -> Data:
    value = residual.value
    return {
        "name": value.name,
        "type": str(value.type),
        "bytes": residual.nbytes,
        "kind": residual.kind,
        "location": str(residual.location) if residual.location else None,
        "why": residual.why(),
    }


def _memory(module: Module) -> Data:
    return timeline_of(module.main).as_json()


def _rows(by: str) -> Callable[[Module], Any]:
    return lambda module: [row.as_json() for row in measure(module, by)[1]]


def _repeats(module: Module) -> list[Data]:
    return [repeat.as_json() | {"text": repeat.describe()} for repeat in repeats_of(module)]


def _constants(module: Module) -> Data:
    """Captured arrays, the largest first, each with the lines that read it."""
    lines = _capturing_lines(module)
    found = sorted(module.constants(), key=lambda c: -c.type.nbytes)
    rows = [
        {"name": c.name, "type": str(c.type), "bytes": c.type.nbytes, "lines": lines.get(c, [])}
        for c in found
        if c.type.nbytes >= LARGE
    ]
    return {"bytes": sum(c.type.nbytes for c in found), "count": len(found), "rows": rows}


def _capturing_lines(module: Module) -> dict[Constant, list[str]]:
    graphs = module.all_graphs()
    sites = call_sites(graphs)
    found: dict[Constant, dict[str, None]] = {}
    for graph in graphs:
        held = {
            e.outputs[0]: e.params["value"] for e in graph.equations
            if isinstance(e.params.get("value"), Constant)
        }  # fmt: skip
        for eqn in graph.equations:
            for x in eqn.inputs:
                if x in held:
                    place = line_of(eqn.location or sites.get(graph))
                    found.setdefault(held[x], {}).setdefault(place)
    return {constant: list(places) for constant, places in found.items()}


def _silent(module: Module) -> list[Data]:
    return [vars(cost) for cost in silent_costs(module)]


_SECTIONS: Final[dict[str, Callable[[Module], Any]]] = {
    "residuals": _residuals,
    "memory": _memory,
    **{f"{key}s": _rows(key) for key in KEYS},
    "repeats": _repeats,
    "constants": _constants,
    "silent": _silent,
}
