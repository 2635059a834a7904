"""How primitives transform: one file a family, all of its jvp, transpose and batch rules."""
