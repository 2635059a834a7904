"""Numbers with units, as people read them."""

from __future__ import annotations


def as_bytes(n: float) -> str:
    """1536 as 1.5 KiB."""
    for factor, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(n) >= factor:
            return f"{n / factor:.3g} {unit}"
    return f"{n:.0f} B"


def as_count(n: float) -> str:
    """A count with a unit prefix: 1234567 as 1.23 M."""
    for factor, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(n) >= factor:
            return f"{n / factor:.3g} {prefix}"
    return f"{n:.0f}"


def as_ratio(x: float | None) -> str:
    return "" if x is None else f"{x:.3g}"


def as_change(x: float | None) -> str:
    """A relative difference in percent."""
    return "" if x is None else f"{100 * x:+.1f} %"
