"""JAX's persistent compilation cache, on by default: a restart does not compile again.

JAX's own variables rule: JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=false
turns it off.
"""

import collections
import os
import platform
import tempfile
import zlib
from typing import Any

import jax

_PREFIX = "/jax/compilation_cache/"
_events: collections.Counter[str] = collections.Counter()


def enable() -> None:
    """Turns the cache on, unless the user has said otherwise or the folder cannot be written."""
    settings: Any = jax.config
    has_no_folder = settings.jax_enable_compilation_cache and not settings.jax_compilation_cache_dir
    if has_no_folder and (folder := _default_folder()):
        jax.config.update("jax_compilation_cache_dir", folder)
    if not _events:
        _events["listening"] = 1
        jax.monitoring.register_event_listener(_count)


def summary() -> str:
    """What the cache has done so far, to be read by a person."""
    settings: Any = jax.config
    if not (settings.jax_enable_compilation_cache and settings.jax_compilation_cache_dir):
        return "no compilation cache"
    hits = _events["cache_hits"]
    return f"compilation cache: {hits} hits, {_events['compile_requests_use_cache'] - hits} misses"


def _count(event: str, **_: object) -> None:
    if event.startswith(_PREFIX):
        _events[event.removeprefix(_PREFIX)] += 1


def _default_folder() -> str:
    """A folder in the user's cache, one per kind of CPU: programs for CPUs hold its instructions."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(home, "fnet_jax", f"{platform.machine()}-{_cpu():08x}")
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return ""


def _cpu() -> int:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(("model name", "flags", "Features"))]
    except OSError:
        lines = [platform.processor()]
    return zlib.crc32("".join(sorted(set(lines))).encode())
