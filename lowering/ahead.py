"""Executables that are read while their programs are still traced.

A process that finds its programs in JAX's persistent cache traces and lowers each, to learn under
which key it is kept, and then waits for XLA to load it. Where the cache is a folder, it is noted
there what a function was compiled to, under its name and the types of its arguments; the next
process begins to load that in a thread when it begins to trace such a function. Nothing depends on
the note being right: JAX looks up the program that was traced, as ever, and what was loaded ahead
is used if the bytes and the options that JAX is about to load are the same; else it is dropped.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import jax
from jaxlib.mlir import ir

from . import jax_compat_cache as cache

logger: Final = logging.getLogger(__name__)

_origin: ContextVar[str | None] = ContextVar("origin", default=None)
_started: Final[set[str]] = set()
_readings: Final[dict[str, _Reading]] = {}


class _Client:
    """A PJRT client that, before it loads an executable, asks `instead`, and whose `options` are
    those that it was last called with."""

    def __init__(self, client: Any, instead: Callable[[bytes, Any, Any], Any] | None) -> None:
        self._client, self._instead = client, instead
        self.options: Any = None
        self.has_loaded = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def deserialize_executable(self, serialized: bytes, *rest: Any) -> Any:
        found = None
        self.options = None
        if len(rest) == 2:  # else there are callbacks
            devices, self.options = rest
            found = self._instead(serialized, devices, self.options) if self._instead else None
        self.has_loaded = found is None
        return self._client.deserialize_executable(serialized, *rest) if found is None else found

    def compile_and_load(self, *args: Any, **kwargs: Any) -> Any:
        self.options, self.has_loaded = kwargs.get("compile_options"), True
        return self._client.compile_and_load(*args, **kwargs)


class _Reading:
    """What is being loaded in a thread, and from which bytes."""

    def __init__(self, client: Any, serialized: bytes, devices: Any, options: Any) -> None:
        self._what = (serialized, devices, options)
        self._client, self._executable = client, None
        self._thread = threading.Thread(target=self._load, name="covector reads ahead")
        self._thread.start()

    def _load(self) -> None:
        try:
            self._executable = self._client.deserialize_executable(*self._what)
        except Exception as error:  # JAX will meet it again, and say it
            logger.debug("could not be read ahead: %s", error)

    def instead(self, serialized: bytes, devices: Any, options: Any) -> Any:
        """What was loaded, if from these bytes with these options."""
        ours, _, expected = self._what
        if serialized != ours or cache.options_bytes(options) != cache.options_bytes(expected):
            return None
        self._thread.join()
        return self._executable


def is_on() -> bool:
    """Whether there is a folder to read from."""
    return cache.local_folder() is not None


def expect(name: str, device: Any) -> str:
    """Begin to read what the function of that name, with all that is said in it, was compiled to
    for the device. Returns what to compile it under (`compiling`)."""
    where = (jax.__version__, device.client.platform_version, device.id)
    origin = hashlib.sha256(repr((name, where)).encode()).hexdigest()
    if origin not in _started:
        _started.add(origin)
        noted = _noted(origin)
        reading = _begin(*noted, device) if noted is not None else None
        if reading is not None:
            _readings[origin] = reading
    return origin


def _begin(key: str, options: bytes, device: Any) -> _Reading | None:
    """Find what is kept under a key, and load it in a thread: not all of it in the thread, which
    would wait for Python's lock at each step."""

    def load(serialized: bytes, devices: Any, options: Any) -> _Reading:
        return _Reading(device.client, serialized, devices, options)

    try:
        found = cache.read(key, cache.options_of(options), (device,), _Client(device.client, load))
    except Exception as error:  # JAX will meet it again, and say it
        logger.debug("could not read %s ahead: %s", key, error)
        return None
    return found if isinstance(found, _Reading) else None


@contextlib.contextmanager
def compiling(origin: str | None) -> Iterator[None]:
    """Compile what was expected."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)
        if origin is not None:
            _readings.pop(origin, None)


@contextlib.contextmanager
def client_for(module: ir.Module, devices: Sequence[Any]) -> Iterator[Any]:
    """The client to compile a module with. What that gives is noted for the next process."""
    client, origin = devices[0].client, _origin.get()
    if origin is None or len(devices) != 1:
        yield client
        return
    _origin.set(None)  # further modules of the same program were not noted
    reading = _readings.pop(origin, None)
    seen = _Client(client, reading.instead if reading else None)
    yield seen
    if not seen.has_loaded:
        logger.debug("%s was read ahead", origin)
    elif seen.options is not None:
        key = cache.key_of(module, devices, seen.options)
        if key is not None:
            _note(origin, key, cache.options_bytes(seen.options))


def _folder() -> Path | None:
    folder = cache.local_folder()
    return None if folder is None else folder / "covector"


def _noted(origin: str) -> tuple[str, bytes] | None:
    """The key and the options that were noted."""
    folder = _folder()
    try:
        found = json.loads((folder / origin).read_text()) if folder else None
        return (found["key"], base64.b64decode(found["options"])) if found else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.debug("could not read the note %s: %s", origin, error)
        return None


def _note(origin: str, key: str, options: bytes) -> None:
    folder = _folder()
    if folder is None:
        return
    written = json.dumps({"key": key, "options": base64.b64encode(options).decode()})
    whole = folder / f"{origin}.{os.getpid()}-{threading.get_ident()}"
    try:
        folder.mkdir(exist_ok=True)
        whole.write_text(written)
        whole.replace(folder / origin)
    except OSError as error:  # a cache that can only be read, a disk that is full
        logger.debug("could not note what %s was compiled to: %s", origin, error)
        with contextlib.suppress(OSError):
            whole.unlink(missing_ok=True)
