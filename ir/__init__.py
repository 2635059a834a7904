"""The program: types, graph, builder, printer, parser, verifier and primitives."""
