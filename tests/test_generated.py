"""Random programs over all primitives, under transformations and pairs of them, against JAX."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
from generated import Program, programs
from generated_checks import check
from generated_steps import STEPS
from hypothesis import HealthCheck, Phase, given, settings
from planted import tangents_of

import covector.ir.ops as ops
from covector.ir.primitive import PRIMITIVES
from covector.passes import tables


@pytest.mark.parametrize("step", STEPS)
def test_generated_programs(step: str) -> None:
    """A program with this step. benchmarks/fuzz.py draws more of them."""
    drawn: list[Program] = []

    @given(programs(step, max_steps=2))
    @settings(
        max_examples=2,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def run(program: Program) -> None:
        drawn.append(program)
        if len(drawn) > 1:  # hypothesis begins with the simplest, which shows least
            check(program, pairs=2)

    run()


NEVER = {
    **dict.fromkeys(
        ("custom_vjp_linear", "linear_ode", "linear_ode_back", "replay", "rewind"),
        "passes make it of others",
    ),
    **dict.fromkeys(
        ("shard_map", "psum_invariant", "pvary", "pbroadcast"),
        "it stands in programs over a mesh: test_shard_map.py",
    ),
    **dict.fromkeys(
        ("empty", "empty2", "tie", "dce_sink", "rng_uniform"), "what it computes is not determined"
    ),
    "copy_p": "it is `copy` by another name",
    "device_put": "it moves values between memories: test_offload.py",
    "foreign": "it is someone else's: test_foreign.py",
    "scaled_matmul": "JAX has it on accelerators only",
    "select_and_scatter": "JAX makes it of nothing: rules/test_window.py",
    "annotated": "it holds what a context says: test_annotations.py",
    "xla_metadata_call": "JAX has it from 0.12 on: test_annotations.py",
    "random_gamma_grad": "JAX 0.10 computes it by others",
    "polynomial": "JAX has it from 0.12 on",
    "constant": "it holds an array of the module's table",
}
"""Primitives that no random program has."""


def test_what_is_never_drawn() -> None:
    drawn: set[str] = set()
    for step in STEPS:

        @given(programs(step, max_steps=2))
        @settings(
            max_examples=6, phases=[Phase.generate], derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def draw(program: Program) -> None:
            drawn.update(eqn.primitive.name for eqn in program.equations())

        draw()
    assert ops.__all__
    assert PRIMITIVES.keys() - drawn <= NEVER.keys()


def fuzz() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_failure_is_a_small_program() -> None:
    """With a wrong rule for sin, which is the step of the first seed."""
    assert next(iter(STEPS)) == "sin"
    wrong = tangents_of(lambda b, eqn, t: b.neg(b.mul(t, b.cos(eqn.inputs[0]))))
    with mock.patch.dict(tables.jvp.rules, {PRIMITIVES["sin"]: wrong}):
        found = fuzz().run(0, 200, 4, False)
    assert found is not None
    names = [eqn.primitive.name for eqn in found.program.equations()]
    assert "sin" in names and len(names) <= 2, found.program
    assert "JAX's is" in str(found.error) and "= sin x" in repr(found.program)
