"""Fixed points, roots, minima and linear solves: values and derivatives of the implicit function,
against closed forms, JAX and finite differences, under every transformation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import covector
from covector.ir.errors import ArgumentError, SolveError, UsageError


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def close(a: Any, b: Any, tolerance: float = 1e-9) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def normal(*shape: int, seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


SQUARE_ROOTS = {
    "fixed_point": lambda a: covector.fixed_point(lambda x, a: 0.5 * (x + a / x), a, a),
    "closed over": lambda a: covector.fixed_point(lambda x: 0.5 * (x + a / x), 1.0),
    "newton": lambda a: covector.newton(lambda x: x * x - a, a),
    "minimize": lambda a: covector.minimize(lambda x: x**3 / 3 - a * x, 1.0),
    "custom_root": lambda a: covector.custom_root(
        lambda x: x * x - a,
        1.0,
        lambda f, x: jax.lax.fori_loop(0, 20, lambda _, z: z - f(z) / (2 * z), x),
        lambda g, y: y / g(1.0),
    ),
}


@pytest.mark.parametrize("name", SQUARE_ROOTS)
def test_square_root_and_its_derivatives(name: str) -> None:
    root = SQUARE_ROOTS[name]
    a = 2.0
    close(root(a), a**0.5)
    close(covector.grad(root)(a), 0.5 * a**-0.5)
    close(covector.jvp(root, (a,), (3.0,))[1], 1.5 * a**-0.5)
    close(covector.grad(covector.grad(root))(a), -0.25 * a**-1.5)
    close(covector.jacfwd(covector.jacfwd(root))(a), -0.25 * a**-1.5)
    many = jnp.array([0.5, 2.0, 9.0])
    close(covector.jit(covector.vmap(covector.grad(root)))(many), 0.5 * many**-0.5)


def test_derivatives_by_jax_of_an_implicit_function() -> None:
    root = SQUARE_ROOTS["closed over"]
    close(jax.jit(jax.grad(jax.grad(root)))(2.0), -0.25 * 2**-1.5)
    close(jax.vmap(root)(jnp.array([1.0, 4.0])), jnp.array([1.0, 2.0]))


def equilibrium(parameters: Any, x: Any, **options: Any) -> Any:
    """A layer of implicit depth over a pytree: z = tanh(A z + x), y = z z."""

    def layer(z: Any, parameters: Any) -> Any:
        u, v = z["u"], z["v"]
        return {"u": jnp.tanh(parameters @ v + x), "v": 0.5 * jnp.sin(u)}

    start = {"u": jnp.zeros(6), "v": jnp.zeros(6)}
    z = covector.fixed_point(layer, start, parameters, **options)
    return jnp.sum(z["u"] * z["v"])


def unrolled(parameters: Any, x: Any) -> Any:
    u, v = jnp.zeros(6), jnp.zeros(6)
    for _ in range(60):
        u, v = jnp.tanh(parameters @ v + x), 0.5 * jnp.sin(u)
    return jnp.sum(u * v)


@pytest.mark.parametrize("solver", ["dense", "gmres"])
def test_pytrees_and_closed_over_parameters_against_unrolling(solver: str) -> None:
    matrix, x = 0.3 * normal(6, 6), normal(6, seed=1)

    def f(matrix: Any, x: Any) -> Any:
        return equilibrium(matrix, x, linear_solver=solver)

    close(f(matrix, x), unrolled(matrix, x))
    found = covector.grad(f, (0, 1))(matrix, x)
    close(found, jax.grad(unrolled, (0, 1))(matrix, x))
    step = normal(6, seed=2)
    push = covector.jvp(lambda x: f(matrix, x), (x,), (step,))[1]
    close(push, jnp.vdot(step, found[1]))
    close(
        covector.jvp(covector.grad(f, 1), (matrix, x), (0 * matrix, step))[1],
        jax.jvp(jax.grad(unrolled, 1), (matrix, x), (0 * matrix, step))[1],
    )
    xs = jnp.stack([x, 2 * x])
    rows = covector.vmap(covector.grad(f), (None, 0))(matrix, xs)
    close(rows[1], jax.grad(unrolled)(matrix, 2 * x))


def test_inside_scan_and_checkpoint() -> None:
    def f(a: Any) -> Any:
        def step(x: Any, _: Any) -> Any:
            y = covector.newton(lambda y: y**3 + y - a * x, x)
            return y, y

        return jnp.sum(jax.lax.scan(jax.checkpoint(step), a, None, length=3)[1])

    h = 1e-6
    close(covector.grad(f)(1.3), (f(1.3 + h) - f(1.3 - h)) / (2 * h), 1e-8)


def test_newton_in_several_unknowns_halves_its_steps() -> None:
    def f(x: Any, a: Any) -> Any:
        return {"p": jnp.arctan(x["p"] - a), "q": x["q"] * x["p"] - 2}

    start = {"p": jnp.asarray(10.0), "q": jnp.asarray(1.0)}
    root = lambda a: covector.newton(f, start, a)
    close(root(3.0), {"p": 3.0, "q": 2 / 3})
    close(covector.jacobian(root)(3.0), {"p": 1.0, "q": -2 / 9})


CONJUGATING = {
    "newton": lambda a: covector.newton(lambda z: z + 0.3 * jnp.conj(z) - a, 0j),
    "fixed_point": lambda a: covector.fixed_point(lambda z: a - 0.3 * jnp.conj(z), 0j),
    "minimize": lambda a: covector.minimize(
        lambda z: jnp.abs(z - a) ** 2 - 0.3 / 1.3 * z.real**2 + 0.3 / 0.7 * z.imag**2, 0j
    ),
}


@pytest.mark.parametrize("name", CONJUGATING)
def test_complex_equations_that_are_not_holomorphic(name: str) -> None:
    """Their derivatives are linear over the real numbers only."""
    scale = (1.3, 0.7) if name != "minimize" else (1 - 0.3 / 1.3, 1 + 0.3 / 0.7)

    def exact(a: Any) -> Any:
        return jax.lax.complex(a.real / scale[0], a.imag / scale[1])

    def size(solve: Any) -> Any:
        return lambda a: jnp.sum(solve(a).real ** 2 * solve(a).imag)

    solve, a, v = CONJUGATING[name], jnp.asarray(0.4 + 1.1j), jnp.asarray(2 - 0.5j)
    close(covector.jvp(solve, (a,), (v,)), jax.jvp(exact, (a,), (v,)), 1e-7)
    close(covector.grad(size(solve))(a), jax.grad(size(exact))(a), 1e-7)


@pytest.mark.parametrize("method", ["bfgs", "newton-cg"])
def test_minimum_of_rosenbrocks_function(method: str) -> None:
    def rosenbrock(x: Any, a: Any) -> Any:
        return (a - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    def minimum(a: Any) -> Any:
        return covector.minimize(rosenbrock, jnp.array([-1.0, 2.0]), a, method=method)

    close(minimum(1.5), jnp.array([1.5, 2.25]))
    close(covector.jacobian(minimum)(1.5), jnp.array([1.0, 3.0]), 1e-7)
    close(covector.hessian(minimum)(1.5), jnp.array([0.0, 2.0]), 1e-7)


@pytest.mark.slow
def test_ridge_regression_by_its_penalty() -> None:
    x, y = normal(20, 150), normal(20, seed=1)  # more unknowns than "auto" solves densely

    def loss(w: Any, penalty: Any) -> Any:
        return jnp.mean((x @ w - y) ** 2) + penalty * jnp.sum(w**2)

    def size(penalty: Any) -> Any:
        return jnp.sum(covector.minimize(loss, jnp.zeros(150), penalty) ** 2)

    def direct(penalty: Any) -> Any:
        w = jnp.linalg.solve(x.T @ x / 20 + penalty * jnp.eye(150), x.T @ y / 20)
        return jnp.sum(w**2)

    close(covector.value_and_grad(size)(0.3), jax.value_and_grad(direct)(0.3), 1e-7)


# -- linear solves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["dense", "gmres", "cg"])
@pytest.mark.parametrize(
    "dtype", [float, pytest.param(complex, marks=pytest.mark.slow)], ids=["real", "complex"]
)
def test_linear_solvers(solver: str, dtype: Any) -> None:
    half, b = normal(7, 7).astype(dtype), normal(7, seed=1).astype(dtype)
    if dtype is complex:
        half = half + 1j * normal(7, 7, seed=2)

    def matrix_of(half: Any) -> Any:
        return half @ half.conj().T + jnp.eye(7) if solver == "cg" else half

    def f(half: Any, b: Any) -> Any:
        matrix = matrix_of(half)
        x = covector.linear_solve(lambda v: matrix @ v, b, solver=solver)
        return jnp.sum(jnp.abs(x) ** 2)

    def direct(half: Any, b: Any) -> Any:
        return jnp.sum(jnp.abs(jnp.linalg.solve(matrix_of(half), b)) ** 2)

    close(f(half, b), direct(half, b))
    close(covector.grad(f, (0, 1))(half, b), jax.grad(direct, (0, 1))(half, b), 1e-7)


def test_gmres_restarts() -> None:
    matrix = jnp.eye(60) + 0.02 * normal(60, 60)
    b = normal(60, seed=1)
    solver = covector.frontend.linear_solvers.Gmres(restart=5)
    found = covector.jit(lambda b: covector.linear_solve(lambda v: matrix @ v, b, solver=solver))(b)
    close(found, jnp.linalg.solve(matrix, b))


@pytest.mark.parametrize("transform", [covector, jax], ids=["covector", "jax"])
def test_custom_linear_solve_as_jax_has_it(transform: Any) -> None:
    matrix, b = normal(4, 4), normal(4, seed=1)

    def make(custom_linear_solve: Any) -> Any:
        def f(matrix: Any, b: Any) -> Any:
            def solve(apply: Any, b: Any) -> Any:
                return jnp.linalg.solve(jax.jacfwd(apply)(b), b), jnp.sum(b)

            x, aux = custom_linear_solve(lambda v: matrix @ v, b, solve, solve, has_aux=True)
            return jnp.sum(x**3) + jax.lax.stop_gradient(aux)

        return f

    ours, theirs = make(covector.custom_linear_solve), make(jax.lax.custom_linear_solve)
    close(transform.grad(ours, (0, 1))(matrix, b), jax.grad(theirs, (0, 1))(matrix, b))
    stack = jnp.stack([matrix, matrix + 1])
    batched = transform.vmap(ours, (0, None))(stack, b)
    close(batched, jax.vmap(theirs, (0, None))(stack, b))


def test_custom_root_with_auxiliary_output_and_pytrees() -> None:
    def make(custom_root: Any) -> Any:
        def f(a: Any) -> Any:
            def solve(f: Any, x: Any) -> Any:
                for _ in range(30):
                    x = jax.tree.map(lambda x, r: x - 0.3 * r, x, f(x))
                return x, jnp.asarray(30.0)

            def tangent_solve(g: Any, y: Any) -> Any:
                return jax.tree.map(lambda y, d: y / d, y, g(jax.tree.map(jnp.ones_like, y)))

            start = (jnp.asarray(1.0), jnp.asarray(2.0))
            equation = lambda x: (x[0] ** 2 - a, x[1] - a)
            x, steps = custom_root(equation, start, solve, tangent_solve, has_aux=True)
            return x[0] * x[1] + 0 * steps

        return f

    ours, theirs = make(covector.custom_root), make(jax.lax.custom_root)
    close(ours(2.0), theirs(2.0))
    close(covector.grad(ours)(2.0), jax.grad(theirs)(2.0))
    close(covector.grad(covector.grad(ours))(2.0), jax.grad(jax.grad(theirs))(2.0))


# -- programs and errors ---------------------------------------------------------------------------


def test_an_equal_call_is_the_same_program() -> None:
    from covector.frontend import execute

    covector.grad(SQUARE_ROOTS["fixed_point"])(2.0)
    known = {*execute._compiled, *execute._running}
    covector.grad(lambda a: SQUARE_ROOTS["fixed_point"](a))(3.0)
    assert {*execute._compiled, *execute._running} == known


def test_the_program_is_text_after_materialize() -> None:
    module = covector.make_ir(SQUARE_ROOTS["newton"])(2.0)
    module = covector.run_passes(module, "materialize,linearize,transpose,cse,dce")
    module.verify()
    assert "custom_linear_solve" in str(module)


@pytest.mark.filterwarnings("ignore")
def test_what_does_not_converge_or_is_singular_says_so() -> None:
    with pytest.raises(SolveError, match=r"fixed-point iteration did not converge.*steps 1e\+03"):
        covector.fixed_point(lambda x: 2 * x + 1, 1.0)
    with pytest.raises(SolveError, match="did not converge"):
        covector.newton(lambda x: x * x + 1, 0.5)
    with pytest.raises(SolveError, match=r"dense linear solve failed: the system is singular"):
        covector.linear_solve(lambda v: jnp.ones((3, 3)) @ v, jnp.arange(3.0))
    with pytest.raises(SolveError, match="singular"):
        covector.linear_solve(lambda v: jnp.ones((3, 3)) @ v, jnp.arange(3.0), solver="gmres")
    with pytest.raises(SolveError, match="not linear over the complex numbers"):
        covector.linear_solve(lambda v: v + jnp.conj(v) / 2, jnp.array([1 + 1j, 2]))
    with pytest.raises(SolveError, match="singular"):  # every point of a line is a minimum
        covector.grad(lambda a: covector.minimize(lambda x: (x[0] - a) ** 2, jnp.zeros(2))[0])(1.0)
    quiet = covector.fixed_point(lambda x: 2 * x + 1, 1.0, throw=False)
    assert jnp.isnan(quiet)
    with pytest.raises(SolveError, match="example 1 of the batch"):
        covector.vmap(lambda s: covector.fixed_point(lambda x: s * x + 1, 1.0))(
            jnp.array([0.5, 2.0])
        )


@pytest.mark.parametrize("jit", [covector.jit, jax.jit], ids=["covector", "jax"])
def test_what_raises_cannot_be_exported(jit: Any) -> None:
    """A saved program has no Python to call; the error says what to do."""

    def root(throw: bool) -> Any:
        return jit(covector.vmap(lambda a: covector.newton(lambda x: x * x - a, a, throw=throw)))

    given = jax.ShapeDtypeStruct((2,), jnp.float64)
    with pytest.raises(UsageError, match="Newton's method did not converge\n  pass throw=False"):
        export.export(root(True))(given)
    close(export.export(root(False))(given).call(jnp.array([4.0, 9.0])), jnp.array([2.0, 3.0]))
    solve = jit(lambda y: covector.odeint(lambda y, t: -y, y, jnp.arange(2.0)))
    with pytest.raises(UsageError, match=r"the solve of \w+ has failed\n  pass throw=False"):
        export.export(solve)(jax.ShapeDtypeStruct((), jnp.float64))


def test_functions_that_are_no_equations_say_so() -> None:
    with pytest.raises(ArgumentError, match="must return what it takes"):
        covector.fixed_point(lambda x: jnp.stack([x, x]), 1.0)
    with pytest.raises(ArgumentError, match="floats or complex"):
        covector.newton(lambda x: x, jnp.array([True]))
    with pytest.raises(ArgumentError, match="nested as"):
        covector.newton(lambda x: (x, x), 1.0)
    with pytest.raises(UsageError, match="did you mean gmres"):
        covector.fixed_point(jnp.cos, 1.0, linear_solver="gmress")
    with pytest.raises(covector.CovectorError, match="sin has no transpose"):
        covector.custom_linear_solve(jnp.sin, 1.0, lambda f, b: b, lambda f, b: b)
