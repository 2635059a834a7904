"""Results as a PNG, and as one HTML page that holds the plot and the tables."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import table
from rich.console import Console


def draw(results: dict[str, Any], path: Path) -> None:
    """Ratios to JAX, a panel for each stage, a bar for each program."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [r for r in results["rows"] if r["library"] == "covector" and "ratio" in r]
    stages = [s for s in table.STAGES if any(r["stage"] == s for r in rows)]
    programs = list(dict.fromkeys(r["program"] for r in rows))[::-1]
    size = (3 + 2.2 * len(stages), 1 + 0.3 * len(programs))
    figure, axes = plt.subplots(
        1, len(stages), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, stage in zip(axes[0], stages, strict=True):
        for r in (r for r in rows if r["stage"] == stage):
            low, high = r["spread"]
            y = programs.index(r["program"])
            ax.barh(y, r["ratio"], color="tab:blue" if r["ratio"] <= 1 else "tab:red", alpha=0.7)
            ax.plot([low, high], [y, y], color="black", linewidth=1)
        ax.axvline(1, color="black", linewidth=0.8)
        ax.set_title(stage)
    axes[0][0].set_yticks(range(len(programs)), programs)
    figure.suptitle("time of covector / time of JAX, quartiles as lines")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_page(results: dict[str, Any], plots: list[Path], path: Path) -> None:
    """One HTML file without anything outside of it."""
    console = Console(record=True, width=150, file=io.StringIO())
    table.show(results, console)
    tables = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
    images = "".join(
        f'<p><img alt="{p.stem}" src="data:image/png;base64,'
        f'{base64.b64encode(p.read_bytes()).decode()}"></p>'
        for p in plots
    )
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>covector beside JAX</title>'
    path.write_text(f"{head}<body>{images}{tables}</body></html>", encoding="utf-8")
