"""Reading text and JSON that anybody may have written: sizes are bounded before memory is taken.

What is parsed here is data: nothing is imported, evaluated or unpickled.
"""

import json
import re
from pathlib import Path
from typing import Any

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import require_file

MOST_TEXT = 16 * 2**20
"""Bytes of a text file: thirty times the largest file of curves. Parsed as JSON, in which three
bytes can become a list of 64, so much text takes at most 350 MB."""

EXPANSION, LEAST_LIMIT = 300, 2**26
"""Bytes of pixels for each byte of a compressed image, and bytes that an image of any size may
take: noise does not compress by more than a few times."""


def check_expansion(path: Path, unpacked: int) -> None:
    """Make sure that an image is not far larger than its file, before memory is taken for it.

    Raises:
        InputError: its pixels would take more bytes than a file of its size holds.
    """
    most = max(LEAST_LIMIT, EXPANSION * path.stat().st_size)
    if unpacked > most:
        raise InputError(
            f"{path}: declares {unpacked} bytes of pixels; a file of its size holds at most {most}"
        )


def read_bytes(path: str | Path, most: int = MOST_TEXT) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        InputError: the file is larger, or cannot be read.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    require_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > most:
        raise InputError(f"{path}: larger than {most} bytes, the most that is read of such files")
    return content


def read_text(path: str | Path, most: int = MOST_TEXT) -> str:
    """The text of a file, UTF-8 or with the byte order mark of UTF-16, without that mark.

    Raises:
        InputError: the file is larger than `most` bytes, or not text.
        FileNotFoundError: there is no such file.
    """
    content = read_bytes(path, most)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error})") from None


def split_lines(text: str) -> list[str]:
    """Lines as editors number them: only line feeds and carriage returns end them."""
    return re.split("\r\n|\r|\n", text)


def parse_json(text: str) -> Any:
    """JSON as the standard has it: NaN and Infinity are not numbers.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")
