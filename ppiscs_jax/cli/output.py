"""Output of commands: files are written even if the terminal cannot be written to."""

import contextlib
import errno
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import typer
from rich.console import Console

from ppiscs_jax.errors import InputError

IN_ASCII = {
    **{"±": "+-", "–": "-", "−": "-", "⁻": "-", "×": "x", "√": "sqrt", "≥": ">=", "≤": "<="},
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("─━", "-"),
}
"""Characters that Unicode does not take apart into ASCII ones."""

READER_HAS_LEFT = (errno.EPIPE, errno.EINVAL)
"""Errors of pipes that are no longer read from, as in `ppiscs … | head`: EINVAL on Windows."""


def new_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: brackets, colons and numbers have no meaning in it."""
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def save_then_show(
    files: Iterable[tuple[Path, Callable[[], object]]], show: Callable[[], None]
) -> None:
    """Write every file, then show the result, even where a file could not be written.

    Args:
        files: paths, and what writes each.
        show: prints the result.

    Raises:
        OSError: naming every file that could not be written.
    """
    failed = []
    for path, write in files:
        try:
            write()
        except (OSError, InputError) as error:
            failed.append(str(error))
        else:
            typer.echo(f"wrote {path}", err=True)
    show()
    if failed:
        raise OSError("; ".join(failed))


@contextlib.contextmanager
def lasting_streams() -> Iterator["_Stream"]:
    """Make stdout and stderr never raise; gives stdout, which records whether writing failed."""
    out, err = _Stream(sys.stdout), _Stream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):  # type: ignore[type-var]
        yield out


class _Stream:
    """A text stream that replaces what it cannot encode, and outlives its reader.

    Attributes:
        encoding: all text is taken; what the stream cannot encode is written in ASCII.
        lost: the error at which the stream was given up, if it was.
    """

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._losing():
            self._stream.write(encodable(text, self._stream.encoding or "utf-8"))
        return len(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    @property
    def problem(self) -> str | None:
        """Say what was not written, or None; that a reader has left is no problem."""
        self.flush()
        if self.lost is None or self.lost.errno in READER_HAS_LEFT:
            return None
        return f"stdout: {self.lost.strerror}"

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = self.lost or error
            # What is still in buffers would raise again when Python ends.
            with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def encodable(text: str, encoding: str) -> str:
    """The text, in ASCII where an encoding lacks a character: alpha for α, +- for ±."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if _has(encoding, c) else _in_ascii(c) for c in text)
    return text


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _in_ascii(character: str) -> str:
    if character in IN_ASCII:
        return IN_ASCII[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK"):
        return name.split()[-1].lower()
    parts = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return parts or ("+" if name.startswith("BOX DRAWINGS") else "?")
