"""Compiled programs are kept between commands, in the user's cache folder."""

import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PPISCS_COMPILATION_CACHE"
"""Environment variable with another folder; empty for none."""

LARGEST_BYTES = 2**29
"""The programs that were used longest ago are deleted beyond that size."""

LEAST_COMPILE_SECONDS = 0.2
"""Programs that compile faster are not kept: reading a file takes time too."""


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs, unless its own settings say where, or it cannot be."""
    given = os.environ.get(VARIABLE)
    if given == "" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = Path(given) if given else _user_cache() / "ppiscs-jax" / "compiled"
    # Homes are shared between machines, on which the same program may not run.
    folder /= _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a read-only home is no reason to stop
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LARGEST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_COMPILE_SECONDS)


def _user_cache() -> Path:
    """The folder in which programs of a user keep what they can make again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _machine() -> str:
    """Name for a kind of processor: machines of one name run each other's programs."""
    about = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about += [next((line for line in lines if line.startswith(("flags", "Features"))), "")]
    except OSError:
        pass  # not Linux
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]


@contextmanager
def compiled_quickly() -> Iterator[None]:
    """Compile without most optimisations: half the time, for what is then run a few times."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
