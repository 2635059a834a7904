"""A corpus of ordinary JAX programs, for tests that hold for all programs."""

from __future__ import annotations

import corpus_algebra
import corpus_arrays
import corpus_control
import corpus_networks
from corpus import PROGRAMS, Program

__all__ = ["PROGRAMS", "Program"]

FAMILIES = (corpus_networks, corpus_arrays, corpus_control, corpus_algebra)
"""Importing these enters their programs."""
