"""How primitives transform: one file a family, all of its jvp, transpose and batch rules.

Region primitives have one file each, and another for their partial evaluation where it is long.
Each file is imported when a rule of its family is asked for (`passes/families.py`).
"""
