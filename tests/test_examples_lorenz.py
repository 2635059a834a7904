"""The example of the Lorenz system: it prints what holds, and writes a picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "lorenz.py"


def test_lorenz(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "lorenz.png"
    result = subprocess.run(
        [sys.executable, str(EXAMPLE), "--plot", str(picture)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "rho           871.6635" in result.stdout
    pushed, pulled = result.stdout.split("<ones, jvp(beta)> = ")[1].split(" = ")[:2]
    assert abs(float(pushed) - float(pulled)) < 1e-3
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
