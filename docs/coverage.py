"""Print the matrix of primitives and layers, below the version of JAX that it is of."""

import jax

from covector.tools.listings import primitive_listing


def main() -> None:
    print(f"JAX {jax.__version__}\n")
    print(primitive_listing(as_json=False))


if __name__ == "__main__":
    main()
