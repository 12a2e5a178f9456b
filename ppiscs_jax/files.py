"""Files that appear whole or not at all; folders with one writer."""

import io
import json
import os
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.errors import InputError, MissingFileError

LOCK_FILE = ".lock"
"""Name of the file by which a process claims a folder."""


def require_file(path: str | Path) -> None:
    """Make sure that there is a file to be read.

    Raises:
        MissingFileError: there is nothing at this path.
        InputError: it is a folder.
    """
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder, not a file")
    if not Path(path).exists():
        raise MissingFileError(f"{path}: no such file")


def output_problem(
    path: str | Path, suffixes: Collection[str], inputs: Iterable[str | Path] = ()
) -> str | None:
    """Say why a file could not be written, or None. Leaves nothing behind.

    `suffixes` are the known endings, with their dots; `inputs` are files that are read in the
    same run, which must not be overwritten. To be asked before long work starts.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        return f"output {path}: its name must end in one of {', '.join(suffixes)}"
    if not path.parent.is_dir():
        return f"output {path}: the folder {path.parent} does not exist"
    if path.is_dir():
        return f"output {path}: is a folder"
    if any(_same_file(path, given) for given in inputs):
        return f"output {path}: would overwrite an input; give it another name"
    if path.exists() and not os.access(path, os.W_OK):
        return f"output {path}: the file is there and may not be written"
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        return f"output {path}: cannot write in {path.parent}, {error.strerror}"
    return None


def _same_file(path: Path, other: str | Path) -> bool:
    return path.exists() and Path(other).exists() and path.samefile(other)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, same ending, that takes its place when all went well.

    What was written is on disk before the name changes hands, so that after a crash `path`
    holds either its old content or all of the new one.

    Raises:
        OSError: writing failed; it names `path`, which is as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise naming(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def naming(error: OSError, path: str | Path) -> OSError:
    """The same error of the system with the name of the file, which many do not have."""
    if error.errno is None or isinstance(error, InputError):
        return error
    return OSError(error.errno, error.strerror, str(path))


def append_json(path: str | Path, entry: Any) -> None:
    """Append a value to a file as a line of JSON.

    Raises:
        OSError: writing failed; it names the file.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise naming(error, path) from error


def save_npz(path: str | Path, **arrays: Any) -> None:
    """Write arrays to a compressed .npz file, whole or not at all.

    Raises:
        OSError: writing failed. NumPy itself, writing to a full disk, raises other errors.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """A folder, made if it is not there, in which no other process works meanwhile.

    The system releases the claim when the process ends, however it ends. Where the file system
    has no locks, the lock file itself stands for one, and one left by a killed process on another
    machine has to be deleted by hand.

    Raises:
        InputError: another process works in it.
        OSError: the folder cannot be made, or written in.
    """
    from filelock import FileLock, Timeout  # only those that write into folders need it

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    lock = FileLock(path, timeout=0)
    try:
        with warnings.catch_warnings():
            # filelock warns if the file system does not support locks.
            warnings.simplefilter("ignore", UserWarning)
            lock.acquire()
    except Timeout as error:
        raise InputError(
            f"output {folder}: another process works in it (its lock file is {path})"
        ) from error
    except OSError as error:
        raise naming(error, path) from error
    try:
        yield
    finally:
        lock.release()
