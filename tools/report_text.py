"""The report of a program as text: tables of the data that `report_data` gathers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..passes.statistics import as_table
from .amounts import as_bytes, as_change, as_count, as_ratio

Data = dict[str, Any]
UNKNOWN: Final = "unknown"


def report_text(data: Data, rows: int = 15) -> str:
    """The sections that the data has, each below its title."""
    parts = []
    for name, write in _WRITERS.items():
        if name in data:
            section = data if name == "totals" else data[name]
            reason = data["unknown"].get(name)
            lines = write(section, rows) if reason is None else [f"unknown: {reason}"]
            parts.append("\n".join([_TITLES[name].format(**data), *(f"  {x}" for x in lines)]))
    return "\n\n".join(parts)


def _totals(data: Data, rows: int) -> list[str]:
    totals = data["totals"]
    counted = f"{totals['equations']} equations in {totals['functions']} functions"
    table: list[list[Any]] = [["", "counted", "XLA", "difference", ""]]
    for figure in data["figures"]:
        show = _SHOW[figure["unit"]]
        cells = [UNKNOWN if figure[k] is None else show(figure[k]) for k in ("counted", "xla")]
        table.append([figure["name"], *cells, as_change(figure["difference"]), figure["note"]])
    notes = [data["unknown"][key] for key in ("counts", "xla") if key in data["unknown"]]
    return [counted, "", *as_table(table).splitlines(), *notes]


_SHOW: Final[dict[str, Callable[[float], str]]] = {
    "B": as_bytes, "flops": as_count, "ratio": as_ratio,
}  # fmt: skip


def _residuals(section: Data, rows: int) -> list[str]:
    if not section["rows"]:
        return ["none"]
    made = as_bytes(section["made_bytes"])
    head = f"{as_bytes(section['bytes'])} of {section['of']}, {made} of them made for it"
    table: list[list[Any]] = [["bytes", "value", "made at", "kept because it is"]]
    for row in section["rows"][:rows]:
        value = f"{row['name'] or '_'}: {row['type']}"
        place = "an input" if row["kind"] == "input" else row["location"] or "(no line)"
        table.append([as_bytes(row["bytes"]), value, place, row["why"]])
    rest = section["rows"][rows:]
    more = [f"and {len(rest)} more, {as_bytes(sum(r['bytes'] for r in rest))}"] if rest else []
    return [head, "", *as_table(table).splitlines(), *more]


def _plan(section: Data, rows: int) -> list[str]:
    table: list[list[Any]] = [["peak of temporaries", "predicted", "actual"]]
    for name, key in (("without a plan", "before"), ("with it", "after")):
        table.append([name, *(as_bytes(section[kind][key]) for kind in ("predicted", "actual"))])
    return [*as_table(table).splitlines(), "", *section["text"].splitlines()]


def _memory(section: Data, rows: int) -> list[str]:
    lines = [
        f"{as_bytes(section['peak'])} of temporaries at most, at step {section['at'] + 1} of "
        f"{section['steps']}: {section['equation']}",
        *_plot(section["live"]),
        "",
    ]
    table: list[list[Any]] = [["bytes", "live at the peak", "made at"]]
    table += [
        [as_bytes(row["bytes"]), row["value"], row["location"] or "(no line)"]
        for row in section["values"][:rows]
    ]
    rest = section["values"][rows:]
    more = [f"and {len(rest)} more, {as_bytes(sum(r['bytes'] for r in rest))}"] if rest else []
    return [*lines, *as_table(table).splitlines(), *more]


BARS: Final = " ▁▂▃▄▅▆▇█"
WIDTH: Final = 72


def _plot(live: Sequence[int]) -> list[str]:
    """The bytes live over the steps, as a row of bars: each the most of the steps it stands for."""
    top = max(live, default=0)
    if not top:
        return []
    n = min(WIDTH, len(live))
    spans = [(i * len(live) // n, max((i + 1) * len(live) // n, i * len(live) // n + 1))
             for i in range(n)]  # fmt: skip
    return ["".join(BARS[round(8 * max(live[a:b]) / top)] for a, b in spans)]


def _spending(key: str) -> Callable[[Any, int], list[str]]:
    def write(section: list[Data], rows: int) -> list[str]:
        flops = max(sum(row["flops"] for row in section), 1)
        has_residuals = any(row["residual_bytes"] for row in section)
        head = [key, "equations", "flops", "%", "bytes", "flops a byte"]
        table: list[list[Any]] = [head + (["residual bytes"] if has_residuals else [])]
        shown, rest = section[:rows], section[rows:]
        if rest:
            names = ("equations", "flops", "bytes", "residual_bytes")
            total: Data = {name: sum(row[name] for row in rest) for name in names}
            total["intensity"] = total["flops"] / total["bytes"] if total["bytes"] else None
            shown = [*shown, {"key": f"{len(rest)} more", **total}]
        for row in shown:
            cells = [
                row["key"], row["equations"], as_count(row["flops"]),
                f"{100 * row['flops'] / flops:.1f}", as_bytes(row["bytes"]),
                as_ratio(row["intensity"]),
            ]  # fmt: skip
            table.append(cells + ([as_bytes(row["residual_bytes"])] if has_residuals else []))
        return as_table(table).splitlines()

    return write


def _repeats(section: list[Data], rows: int) -> list[str]:
    return [row["text"] for row in section[:rows]] or ["nothing"]


def _constants(section: Data, rows: int) -> list[str]:
    if not section["count"]:
        return ["none"]
    head = f"{section['count']} arrays of {as_bytes(section['bytes'])} in all"
    table = [["bytes", "array", "read at"]] if section["rows"] else []
    table += [
        [as_bytes(row["bytes"]), f"${row['name']}: {row['type']}", ", ".join(row["lines"][:3])]
        for row in section["rows"][:rows]
    ]
    return [head, *(as_table(table).splitlines() if table else [])]


def _silent(section: list[Data], rows: int) -> list[str]:
    lines = []
    for row in section[:rows]:
        place = f"{row['location']}: " if row["location"] else ""
        lines += [f"{place}{row['what']}", f"    {row['instead']}"]
    return lines or ["none found"]


_WRITERS: Final[dict[str, Callable[[Any, int], list[str]]]] = {
    "totals": _totals,
    "residuals": _residuals,
    "memory": _memory,
    "plan": _plan,
    "lines": _spending("line"),
    "primitives": _spending("primitive"),
    "functions": _spending("function"),
    "repeats": _repeats,
    "constants": _constants,
    "silent": _silent,
}
_TITLES: Final = {
    "totals": "@{entry}, counted from its text and by XLA",
    "residuals": "residuals",
    "memory": "memory",
    "plan": "planned for a memory budget",
    "lines": "by line",
    "primitives": "by primitive",
    "functions": "by function",
    "repeats": "repeated",
    "constants": "captured arrays",
    "silent": "silent costs",
}
