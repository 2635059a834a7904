"""Every primitive of JAX's, at every rank from 0 to 5, empty or not, in every dtype that it takes.

CI checks a few samples of each; `-m slow` checks all; benchmarks/sampled.py draws others.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import jax
import pytest
import sampled_arrays
import sampled_elementwise
import sampled_linalg
import sampled_shape
from harness import Case
from harness_laws import types_as_jax
from sampled import DTYPES, SAMPLED, by_dtype, by_rank, takes, untyped
from sampled_laws import (
    batches_are_loops,
    derivatives_are_lawful,
    derivatives_as_jax,
    derivatives_have_types,
    is_in_jax,
    is_operation_of_jax,
    values_as_jax,
)

from covector.frontend import importer
from covector.frontend.avals import to_struct
from covector.frontend.coverage import coverage
from covector.frontend.export_rules import rule_for
from covector.ir.graph import Equation, Value
from covector.ir.primitive import PRIMITIVES

MODULES = (sampled_arrays, sampled_elementwise, sampled_linalg, sampled_shape)
"""They enter samplers when they are imported."""
EACH = pytest.mark.parametrize("name", SAMPLED)
GROUPS = [tuple(SAMPLED)[i::24] for i in range(24)]
GROUP = pytest.mark.parametrize("names", GROUPS, ids=["-".join(names[:2]) for names in GROUPS])
HOW_MANY = pytest.mark.parametrize(
    "few", [pytest.param(True, id="few"), pytest.param(False, id="all", marks=pytest.mark.slow)]
)


def some(cases: Sequence[Case], count: int, name: str) -> list[Case]:
    """Some of the cases, others for each name."""
    if len(cases) <= count:
        return list(cases)
    start, step = zlib.crc32(name.encode()), max(1, len(cases) // count)
    return [cases[(start + i * step) % len(cases)] for i in range(count)]


# -- which there are -------------------------------------------------------------------------------

ELSEWHERE = {
    "call closed_call jit eval_jaxpr checkpoint remat_opt cond scan while custom_jvp_call "
    "custom_lin custom_vjp_call platform_index": "test_nested.py",
    "custom_linear_solve": "test_implicit.py",
    "custom_vmap_call": "test_custom_vmap.py",
    "forward_call": "test_optimize_remat.py",
    "linear_call": "test_linear_call.py",
    "shard_map": "test_shard_map.py",
    "all_gather all_gather_invariant all_to_all axis_index pbroadcast pmax pmin ppermute psum "
    "psum_invariant pvary reduce_scatter": "test_collectives.py",
    "call_hi_primitive": "test_custom_rule_batches.py",
    "composite": "test_composite.py",
    "accum_grad_in_ref addupdate broadcast_to empty_ref free_ref freeze get new_ref run_state swap":
    "test_refs.py",
    "debug_callback debug_print io_callback pure_callback": "test_effects.py",
    "device_put reshard sharding_constraint zeros_like": "test_coverage.py",
    "annotated compute_on xla_metadata_call xla_metadata_value": "test_annotations.py",
    "dce_sink empty empty2 tie": "rules/test_shape.py",
    "iota_2x32_shape philox2x32 philox4x32 random_gamma rng_bit_generator rng_uniform threefry4x32":
    "rules/test_random.py",
    "scaled_dot scaled_matmul": "rules/test_scaled.py",
    "select_and_scatter": "rules/test_window.py",
    "scatter_apply": "rules/test_scatter_apply.py",
}  # fmt: skip
"""What has graphs, effects, named axes, no operands or one rank only is tested in these files."""


def test_every_primitive_is_sampled() -> None:
    rows, _ = coverage()
    native = [row.primitive for row in rows if row.kind == "native"]
    names = {importer.RENAMED.get(name, name.replace("-", "_")) for name in native}
    assert names - SAMPLED.keys() <= set(" ".join(ELSEWHERE).split())
    assert all((Path(__file__).parent / file).exists() for file in ELSEWHERE.values())


@EACH
def test_ranks(name: str) -> None:
    """There are samples of all ranks that the primitive has, and empty ones."""
    low, high = SAMPLED[name].ranks
    cases = list(by_rank(name))
    assert len(cases) >= high - low + 1
    sizes = [t.size for case in cases for t in (*case.operands, *case.graph.output_types)]
    assert 0 in sizes or low == high or name == "geqp3"


# -- dtypes ----------------------------------------------------------------------------------------

OTHERS = {
    "abs": "i2 i4", "reduce_and": "i2 i4 u2 u4", "reduce_or": "i2 i4 u2 u4",
    "reduce_xor": "i2 i4 u2 u4",
}  # fmt: skip
"""Dtypes that JAX refuses, though nothing speaks against them."""
NARROW = "f4_e2m1fn f8_e3m4 f8_e4m3 f8_e4m3b11fnuz f8_e4m3fn f8_e4m3fnuz f8_e5m2 f8_e5m2fnuz " \
    "f8_e8m0fnu"  # fmt: skip
REFUSED = {
    **dict.fromkeys(
        ("lu", "geqrf", "hessenberg", "schur", "qr", "svd", "eig", "tridiagonal", "geqp3", "ormqr",
         "tridiagonal_solve", "householder_product", "cholesky_update", "symmetric_product"),
        f"f16 bf16 {NARROW}",
    ),
    "triangular_solve": NARROW,
    **dict.fromkeys(("add_any", "one_minus_square", "polynomial"), "bool"),
}  # fmt: skip
"""Dtypes whose types JAX infers, and for which there is no kernel or no meaning."""


@EACH
def test_dtypes(name: str) -> None:
    """The type rule takes the dtypes that JAX's takes, and gives what JAX's gives."""
    for case in by_dtype(name):
        if isinstance(case.of, str) and is_in_jax(case) and _jax_takes(case):
            types_as_jax(case)
        if case.is_differentiable:
            derivatives_have_types(case)
    for dtype in DTYPES:
        case = untyped(name, dtype)
        known = f" {OTHERS.get(name, '')} {REFUSED.get(name, '')} "
        if case is not None and is_operation_of_jax(name) and f" {dtype} " not in known:
            assert takes(name, dtype) == _jax_takes(case), dtype


def _jax_takes(case: Case) -> bool:
    assert case.primitive is not None
    params = case.primitive.complete(case.params)
    inputs = tuple(Value(t) for t in case.operands)
    eqn = Equation(case.primitive, inputs, tuple(Value(t) for t in case.operands[:1]), params)
    bind = rule_for(case.primitive)
    with jax.enable_x64(True):
        try:
            jax.make_jaxpr(lambda *xs: bind(eqn, xs))(*map(to_struct, case.operands))
        except Exception:
            return False
    return True


# -- values, batches, derivatives ------------------------------------------------------------------


@GROUP
def test_values(names: Sequence[str]) -> None:
    """As JAX computes them."""
    cases = [c for name in names for c in some([*by_rank(name), *by_dtype(name)], 4, name)]
    assert values_as_jax(cases) > len([c for c in cases if is_in_jax(c)]) / 2


@pytest.mark.slow
@EACH
def test_all_values(name: str) -> None:
    values_as_jax([*by_rank(name), *by_dtype(name), *by_dtype(name, 1)])


@EACH
@HOW_MANY
def test_batches(name: str, few: bool) -> None:
    cases = [c for c in (*by_rank(name), *by_dtype(name)) if c.operands and c.batch]
    for case in some(cases, 3, name) if few else cases:
        batches_are_loops(case, 1 if few else None)


def differentiable(name: str, seed: int = 0) -> list[Case]:
    return [case.in_double() for case in by_rank(name, seed) if case.is_differentiable]


@EACH
@HOW_MANY
def test_derivatives(name: str, few: bool) -> None:
    cases = differentiable(name)
    for case in some(cases, 2, name) if few else cases:
        derivatives_are_lawful(case)


@GROUP
def test_derivatives_as_jax(names: Sequence[str]) -> None:
    """First and second ones."""
    derivatives_as_jax([c for name in names for c in some(differentiable(name), 1, name)])


@pytest.mark.slow
@EACH
def test_all_derivatives_as_jax(name: str) -> None:
    """In a byte they are rounded after each step, or not, as XLA pleases."""
    derivatives_as_jax(differentiable(name))
    shorter = [c for c in by_dtype(name) if c.is_differentiable]
    derivatives_as_jax([c for c in shorter if c.operands[0].dtype.itemsize in (2, 4)])


def test_all_primitives_have_names() -> None:
    assert SAMPLED.keys() <= PRIMITIVES.keys()
