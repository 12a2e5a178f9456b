"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


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
