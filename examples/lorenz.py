"""How a trajectory of the Lorenz system changes with its parameters: forward and reverse mode.

    python examples/lorenz.py                    # prints both, writes lorenz.png
    covector trace examples/lorenz.py:evolve     # the program: one equation is the solve

Forward mode says how the whole trajectory moves when one parameter does: the arrows of the picture.
Reverse mode says how one number, here the sum of all coordinates at all times, depends on all
parameters. The same solve has both, and <vjp(c), v> = <c, jvp(v)>.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector

jax.config.update("jax_enable_x64", True)

TIMES = jnp.linspace(0.0, 1.0, 1000)
POINT = (jnp.array([5.0, 5.0, 5.0]), 28.0, 10.0, 8 / 3)
"""The state at the beginning, rho, sigma, beta."""


def slope(state: Any, t: Any, rho: Any, sigma: Any, beta: Any) -> Any:
    x, y, z = state
    return jnp.array([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])


def evolve(y0: Any, rho: Any, sigma: Any, beta: Any) -> Any:
    """The trajectory: f64[1000,3]."""
    return covector.odeint(slope, y0, TIMES, rho, sigma, beta)


def example_args() -> dict[str, Any]:
    return {"evolve": POINT}


def draw(path: str, ys: Any, along_beta: Any, along_rho: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 5), layout="constrained")
    for i, (name, dys, colour) in enumerate(
        (("\\beta", along_beta, "tab:red"), ("\\rho", along_rho, "tab:green"))
    ):
        axes: Any = figure.add_subplot(1, 2, i + 1, projection="3d")
        axes.plot(*ys.T, color="tab:blue", linewidth=1)
        axes.quiver(*ys[::20].T, *dys[::20].T, color=colour, linewidth=0.7, arrow_length_ratio=0.15)
        axes.set_box_aspect(None, zoom=0.88)
        axes.set(xlabel="x", ylabel="y", zlabel="z")
        axes.set_title(f"Lorenz system and $\\partial y / \\partial {name}$ along it")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", default="lorenz.png", help="where the picture is written")
    options = parser.parse_args()

    still = jnp.zeros(3)
    beta, rho = (still, 0.0, 0.0, 1.0), (still, 1.0, 0.0, 0.0)
    ys, along_beta = covector.jvp(evolve, POINT, beta)
    _, along_rho = covector.jvp(evolve, POINT, rho)
    _, pull = covector.vjp(evolve, *POINT)
    ones = jnp.ones_like(ys)
    cotangents = pull(ones)

    with np.printoptions(precision=6, suppress=True):
        print("state at the end          ", np.asarray(ys[-1]))
        print("  moves with beta by      ", np.asarray(along_beta[-1]))
        print("  moves with rho by       ", np.asarray(along_rho[-1]))
        print("vjp of ones: initial state", np.asarray(cotangents[0]))
        for name, ct in zip(("rho", "sigma", "beta"), cotangents[1:], strict=True):
            print(f"             {name:13}", f"{float(ct):.6f}")
    pushed, pulled = jnp.vdot(ones, along_beta), cotangents[3]
    print(f"<ones, jvp(beta)> = {pushed:.6f} = {pulled:.6f} = <vjp(ones), beta>")
    draw(options.plot, np.asarray(ys), np.asarray(along_beta), np.asarray(along_rho))
    print(f"wrote {options.plot}")


if __name__ == "__main__":
    main()
