"""Files that appear whole or not at all, and arrays read from them."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ppiscs_jax.errors import InputError

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy raises for files that are no whole .npz."""


def output_problem(path: str | Path, suffixes: Collection[str]) -> str | None:
    """Say why a file could not be written, or None. Leaves nothing behind.

    `suffixes` are the known endings, with their dots. To be asked before long work starts.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        return f"output {path}: its name must end in one of {', '.join(suffixes)}"
    if not path.parent.is_dir():
        return f"output {path}: the folder {path.parent} does not exist"
    if path.is_dir():
        return f"output {path}: is a folder"
    if path.exists() and not os.access(path, os.W_OK):
        return f"output {path}: the file is there and may not be written"
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        return f"output {path}: cannot write in {path.parent}, {error.strerror}"
    return None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, same ending, that takes its place when all went well.

    What was written is on disk before the name changes hands, so that after a crash `path`
    holds either its old content or all of the new one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def reading_npz(path: str | Path, file_format: str, what: str) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of a .npz file whose entry `format` says what it holds; no pickles.

    Raises:
        InputError: it is damaged, of another format, or lacks what is looked up in it. `what`
            names its content.
        FileNotFoundError: there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["format"]) != file_format:
                raise InputError(f"{path}: its format is {arrays['format']}, not {file_format}")
            yield arrays
    except UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a file of {what} ({error})") from error


def npz_format(path: str | Path) -> str:
    """What the entry `format` of a .npz file says; "" where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays["format"])
    except UNREADABLE:
        return ""
