"""Python and JAX to a graph, and the user's transformations."""
