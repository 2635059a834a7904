"""Solvers of ordinary differential equations, as programs written with the builder.

`expand` says what an equation of `ops/ode.py` does, in loops and arithmetic: lowering, export to
JAX and interpretation use it alike.
"""
