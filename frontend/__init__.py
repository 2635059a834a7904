"""Python and JAX to programs, and the user's transformations."""

from . import import_rules as import_rules  # enters the rules that the importer looks up
