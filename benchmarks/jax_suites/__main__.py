"""JAX's own tests with covector's transformations in the place of JAX's.

    python benchmarks/jax_suites ~/jax/tests custom_api_test api_test
    python benchmarks/jax_suites ~/jax/tests lax_autodiff_test --select "Grad and not complex"

The tests are those of a checkout of JAX at the tag of the installed version; none of them is kept
here. What fails is looked up in differences.toml, which says why; what is not there is our fault.
Results are added to results.json, and docs/jax_tests.md is written from it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "jax_tests.md"
RESULTS = HERE / "results.json"

HEAD = """# JAX's own tests

`benchmarks/jax_suites` runs the tests of a JAX checkout with covector's functions in the place of
JAX's: `grad`, `value_and_grad`, `vjp`, `jvp`, `linearize`, `linear_transpose`, `vmap`, `jacfwd`,
`jacrev`, `hessian`, `jit`, in test modules and in the helpers that they are written with.

```console
python benchmarks/jax_suites ~/jax/tests custom_api_test api_test
```

The script has written this page. A test that fails is listed with the reason, or as ours to mend.
"""


def run(tests: Path, module: str, select: str, seconds: int) -> dict[str, list[str]]:
    """The names of the tests of one module by outcome: passed, failed, skipped; under "cut" after
    what time the run was cut short, if it was."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "results.jsonl"
        environment = {
            **os.environ, "JAX_TESTS": str(tests), "COVECTOR_RESULTS": str(lines),
            "PYTHONPATH": str(HERE), "JAX_PLATFORMS": "cpu", "COVECTOR_REPRODUCER": "off",
        }  # fmt: skip
        environment.setdefault("JAX_NUM_GENERATED_CASES", "4")
        command = [
            sys.executable, "-m", "pytest", "-p", "plugin", "-q", "-s", "--import-mode=importlib",
            f"--rootdir={folder}", "-p", "no:cacheprovider", "--tb=line", "-k", select,
            str(tests / f"{module}.py"),
        ]  # fmt: skip
        found: dict[str, set[str]] = {
            "passed": set(), "failed": set(), "skipped": set(), "cut": set()
        }  # fmt: skip
        try:
            subprocess.run(command, env=environment, cwd=tests, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            click.echo(f"{module}: cut short after {seconds} s", err=True)
            found["cut"].add(f"{seconds} s")
        for line in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []:
            result = json.loads(line)
            found[result["outcome"]].add(result["test"])
    found["passed"] -= found["failed"]  # parameterized tests may share a name
    found["skipped"] -= found["failed"] | found["passed"]
    return {outcome: sorted(names) for outcome, names in found.items()}


def updated(old: dict[str, Any] | None, found: dict[str, list[str]], select: str) -> dict[str, Any]:
    """The results of a module: of this run, or earlier ones in which selected tests have run again.

    A selection of a module that was run before is for what failed then.
    """
    failed, passed = set(found["failed"]), set(found["passed"])
    if old is None or not select:
        counts = {outcome: len(found[outcome]) for outcome in ("passed", "skipped")}
        return {**counts, "select": select, "failed": sorted(failed), "cut": found["cut"]}
    mended = passed & set(old["failed"])
    left = (set(old["failed"]) - passed) | failed
    broken = failed - set(old["failed"])
    counts = {"passed": old["passed"] + len(mended) - len(broken), "skipped": old["skipped"]}
    return {**counts, "select": old["select"], "failed": sorted(left)}


def differences() -> list[dict[str, Any]]:
    """What is known to differ: `tests` (patterns), and `why`."""
    text = (HERE / "differences.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["difference"])


def reason(test: str, known: list[dict[str, Any]]) -> str | None:
    """Why a test fails, if that is known."""
    for difference in known:
        if any(fnmatchcase(test, pattern) for pattern in difference["tests"]):
            return str(difference["why"])
    return None


def page(results: dict[str, Any]) -> str:
    """The page of the documentation."""
    known = differences()
    rows, ours, told = [], [], Counter[str]()
    for module, found in sorted(results["modules"].items()):
        reasons = {test: reason(test, known) for test in found["failed"]}
        told.update(why for why in reasons.values() if why is not None)
        mine = [test for test, why in reasons.items() if why is None]
        ours += [f"- `{module}`: `{test}`" for test in mine]
        counts = (found["passed"], found["skipped"], len(reasons) - len(mine), len(mine))
        name = f"`{module}`" + (f" (`-k '{found['select']}'`)" if found["select"] else "")
        name += "".join(f" (the first {seconds})" for seconds in found.get("cut", ()))
        rows.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join([
        HEAD,
        f"With JAX {results['jax']}, on the CPU; tests by name, cases of one name together:",
        "",
        "| tests | passed | skipped | differ, see below | fail |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "## What differs, and why",
        "",
        *[f"- {why} ({n})" for why, n in told.most_common()],
        "",
        "## What fails",
        "",
        *(ours or ["Nothing."]),
        "",
    ])  # fmt: skip


@click.command()
@click.argument("tests", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("modules", nargs=-1)
@click.option("--select", default="", help="Tests to run, as pytest's -k.")
@click.option("--seconds", default=3600, help="Time for each module.")
def main(tests: Path, modules: tuple[str, ...], select: str, seconds: int) -> None:
    """Run MODULES of JAX's TESTS, and write the page. Without modules, only write the page."""
    import jax

    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results = {"jax": jax.__version__, "modules": results.get("modules", {})}
    for module in modules:
        found = run(tests.resolve(), module, select, seconds)
        old = results["modules"].get(module)
        results["modules"][module] = updated(old, found, select)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    known = differences()
    for module in modules:
        failed = results["modules"][module]["failed"]
        click.echo(f"{module}: {sum(reason(t, known) is None for t in failed)} to mend")


if __name__ == "__main__":
    main()
