"""Print the table of JAX's primitives and what becomes of each, as Markdown."""

import textwrap

from covector.frontend import api as api
from covector.frontend.coverage import coverage


def main() -> None:
    rows, _ = coverage()
    natives = [row for row in rows if row.kind == "native"]
    listed = ", ".join(row.primitive for row in natives)
    print(f"native ({len(natives)}):")
    print(textwrap.fill(listed, 100, initial_indent="  ", subsequent_indent="  ") + "\n")
    for kind in ("foreign", "refused"):
        chosen = [row for row in rows if row.kind == kind]
        print(f"{kind} ({len(chosen)}):")
        for row in chosen:
            print(f"  {row.primitive}: {row.note}")
        print()


if __name__ == "__main__":
    main()
