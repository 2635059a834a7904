"""Errors of passes as the types that JAX raises for the same mistakes, which users may catch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jax.errors import UnexpectedTracerError

from ..ir.errors import ClosedOverError, CovectorError


class ClosedOverTracerError(ClosedOverError, UnexpectedTracerError):
    """A derivative is wanted by a traced value that a function with a rule of its own closes over.

    JAX, whose rules are traced where they stand, calls it a leaked tracer.
    """


class LeakedTracerError(CovectorError):
    """A value of a recording is still held when the recording is over (JAX raises a plain
    Exception)."""


class TracingForbiddenError(CovectorError, RuntimeError):
    """A call would have to be traced while jax.no_tracing() is in force."""


@contextlib.contextmanager
def as_jax_errors() -> Iterator[None]:
    """What is raised inside is raised as a type that is also JAX's."""
    try:
        yield
    except ClosedOverError as error:
        raise ClosedOverTracerError(
            error.claim, error.equation, location=error.location, stage=error.stage, hint=error.hint
        ) from None
