"""Rules are imported when they are asked for, each from where `families` says that it is."""

import pkgutil
import subprocess
import sys

from covector.passes import rules, tables
from covector.passes.families import FAMILIES, load_all

ONE_RULE = """
import sys
from covector.ir.primitive import PRIMITIVES
from covector.passes import tables
print(tables.jvp.get(PRIMITIVES["tanh"]) is not None)
print(sorted(m.rpartition(".")[2] for m in sys.modules if m.startswith("covector.passes.rules.")))
"""

EVERY_RULE = """
from covector.ir.primitive import PRIMITIVES
from covector.passes import tables
from covector.passes.families import load_all
TABLES = [tables.jvp, tables.transpose, tables.batch, tables.split, tables.dce]
asked = {(t.name, p.name): t.get(p) for t in TABLES for p in {which}(PRIMITIVES.values())}
load_all()
print([key for key, rule in asked.items()
       for t in TABLES if t.name == key[0]
       if t.rules.get(PRIMITIVES[key[1]], rule) is not rule])
"""


def output(code: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_a_rule_imports_its_family_only():
    assert output(ONE_RULE) == ["True", "['conversion', 'elementwise']"]


def test_rules_are_found_in_whatever_order_they_are_asked_for():
    for which in (
        "list",
        "lambda all: sorted(all, key=lambda p: p.name)",
        "lambda all: reversed([*all])",
    ):
        assert output(EVERY_RULE.replace("{which}", f"({which})")) == ["[]"]


def test_every_file_with_rules_belongs_to_a_family():
    load_all()
    helpers = {
        "backward",
        "counted",
        "custom_thunks",
        "incomplete_gamma",
        "matrix",
        "policies",
        "prefix",
        "recompute",
        "revolve",
        "rows",
    }
    files = {m.name for m in pkgutil.iter_modules(rules.__path__)}
    assert files - helpers == {name for names in FAMILIES.values() for name in names}


def test_rules_that_drop_what_is_unused_are_those_of_primitives_with_regions():
    load_all()
    assert all(p.has_regions for p in tables.dce.rules)
