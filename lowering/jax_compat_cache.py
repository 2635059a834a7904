"""The private names of JAX behind its persistent compilation cache (see jax_compat)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# compilation_cache: under which key a module is kept, and what is kept there. config: where.
from jax._src import compilation_cache, config
from jaxlib import xla_client
from jaxlib.mlir import ir


def local_folder() -> Path | None:
    """Where the cache is, if it is on, believed, and a folder of this machine."""
    is_on = compilation_cache.is_persistent_cache_enabled()
    if not is_on or config.compilation_cache_check_contents.value:
        return None
    path = config.compilation_cache_dir.value
    return Path(path) if path and "://" not in path else None


def key_of(module: ir.Module, devices: Sequence[Any], options: Any) -> str | None:
    """Under which key the module, compiled with the options, is kept; None where it is not kept."""
    client = devices[0].client
    key = compilation_cache.get_cache_key(module, np.array(devices), options, client)
    return key if compilation_cache.is_executable_in_cache(client, key) else None


def read(key: str, options: Any, devices: Sequence[Any], client: Any) -> Any:
    """The executable that is kept under a key; `client` is asked to load its bytes."""
    where = xla_client.DeviceList(tuple(devices))
    return compilation_cache.get_executable_and_time(key, options, client, where)[0]


def options_bytes(options: Any) -> bytes:
    return bytes(options.SerializeAsString())


def options_of(written: bytes) -> Any:
    return xla_client.CompileOptions.ParseFromString(written)
