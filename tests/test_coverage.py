"""Every primitive of JAX's has a row: native, foreign, or refused with the reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.frontend.coverage import CARRIED, coverage, find_row
from covector.frontend.refused import REFUSED
from covector.ir.errors import CovectorError
from covector.tools.listings import LAYERS, primitive_rows

ROOT = Path(__file__).parent.parent


def test_every_primitive_has_a_row() -> None:
    """In a fresh process: other tests define primitives of their own."""
    probe = (
        "import covector.frontend; from covector.frontend.coverage import coverage; "
        "rows, missing = coverage(); print(*missing)"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    missing = result.stdout.split()
    assert not missing, (
        f"JAX {jax.__version__} has primitives of which nothing is said: {', '.join(missing)}; "
        "define them, or enter them in frontend/coverage.py or frontend/refused.py"
    )


def test_most_rows_are_native() -> None:
    rows, _ = coverage()
    kinds = [row.kind for row in rows]
    assert kinds.count("native") > 150
    assert kinds.count("native") > 2 * kinds.count("foreign")


def test_nothing_is_listed_twice() -> None:
    assert not set(CARRIED) & set(REFUSED)
    native = [name for name in CARRIED if (row := find_row(name)) and row.kind != "foreign"]
    assert not native


def test_every_cell_says_something() -> None:
    """A layer has a rule, needs none, falls back or refuses; the last two are never our own."""
    for row in primitive_rows():
        cells = {row[layer] for layer in LAYERS}
        assert "-" not in cells, row
        if row["family"] == "JAX":
            assert row["note"], row
        elif row["family"] != "foreign":
            assert not cells & {"falls back", "refuses"}, row


def test_the_documentation_holds_the_matrix() -> None:
    page = (ROOT / "docs" / "primitives.md").read_text()
    if f"JAX {jax.__version__}\n" not in page:
        pytest.skip("it is of another version of JAX")
    probe = "from covector.tools.listings import primitive_listing; print(primitive_listing(False))"
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    ).stdout
    assert shown in page, "run: python docs/refresh.py --all docs/primitives.md"


def test_refusals_say_why() -> None:
    assert all(len(reason) > 10 for reason in REFUSED.values())

    def f(x: jax.Array) -> jax.Array:
        return jax.lax.after_all(jax.lax.create_token(x)) and x

    with pytest.raises(CovectorError, match="create_token is not supported: "):
        covector.make_ir(f)(1.0)


@pytest.mark.smoke
def test_calls_that_only_say_more_than_their_bodies() -> None:
    """They become their bodies, whatever this version of JAX calls the parameter of these."""

    @jax.custom_vjp
    def sine(x: jax.Array) -> jax.Array:
        return jnp.sin(x)

    sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (jnp.cos(x) * ct,), optimize_remat=True)

    jaxpr = jax.make_jaxpr(lambda x: jax.vjp(sine, x)[0])(1.0)
    assert [e.primitive.name for e in jaxpr.jaxpr.eqns] == ["remat_opt"]
    assert covector.from_jaxpr(jaxpr).run(1.0)[0] == pytest.approx(np.sin(1))


def test_places() -> None:
    x = jnp.arange(3.0)
    here = jax.devices()[0]
    mesh = jax.sharding.Mesh([here], ("x",))
    spread = jax.NamedSharding(mesh, jax.P("x"))

    def f(x: jax.Array) -> jax.Array:
        x = jax.device_put(jax.device_put(x), here)
        return jnp.copy(jax.lax.with_sharding_constraint(x, spread)) * 2

    assert covector.jit(f)(x).tolist() == [0.0, 2.0, 4.0]
    assert covector.grad(lambda x: f(x).sum())(x).tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(CovectorError, match=r"device_put to .* is not supported"):
        covector.make_ir(lambda x: jax.device_put(x, jax.devices()[1]))(x)


def test_what_kernels_are_made_of_has_a_row() -> None:
    """Pallas defines its primitives when it is imported, in each version of JAX others."""
    probe = (
        "import jax.experimental.pallas.tpu, jax.experimental.pallas.triton\n"
        "import covector.frontend\n"
        "from covector.frontend.coverage import coverage, find_row\n"
        "print(find_row('matmul_push_rhs').kind, find_row('pallas_call').kind, *coverage()[1])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["refused", "foreign"]
