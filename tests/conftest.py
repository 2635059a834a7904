"""Options and fixtures of all tests."""

from __future__ import annotations

import os

# Before anything imports JAX: tests compare numbers, and CPU is the platform that everybody has.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Several devices, for shardings and placements.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
# Failures that tests provoke need no files to repeat them.
os.environ.setdefault("COVECTOR_REPRODUCER", "off")
# Who reads a failing test wants all frames.
os.environ.setdefault("JAX_TRACEBACK_FILTERING", "off")

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from roundtrip_guard import modules_made, unread

GOLDEN = Path(__file__).parent / "golden"

settings.register_profile(
    "dev", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
)
# The same examples on every run: a failure there is a failure everywhere.
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the expected texts in tests/golden"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("jvp/sin.cvir", text)`: text is what tests/golden/jvp/sin.cvir holds."""

    def check(path: str, actual: str) -> None:
        file = GOLDEN / path
        actual = actual.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(actual, encoding="utf-8")
            return
        expected = file.read_text(encoding="utf-8") if file.exists() else ""
        if actual != expected:
            diff = difflib.unified_diff(
                expected.splitlines(), actual.splitlines(), f"golden/{path}", "actual", lineterm=""
            )
            claim = "differs from" if file.exists() else "has no"
            pytest.fail(
                f"the text {claim} tests/golden/{path}\n"
                + "\n".join(diff)
                + "\nif the new text is right: pytest --update-golden",
                pytrace=False,
            )

    return check


@pytest.fixture(autouse=True)
def _texts_read_back() -> Iterator[None]:
    """Every program that the test makes, after every pass, prints and reads back equal."""
    with modules_made() as modules:
        yield
    found = next(unread(modules), None)
    if found is not None:
        pytest.fail(found, pytrace=False)
