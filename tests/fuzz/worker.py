"""One reader on many damaged files, in a process that may die of them.

Takes lines of reader, seed, first and last input, apart by tabs, from standard input, and says on
standard output which input comes next, and what became of it.
"""

import logging
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

from ppiscs_jax import InputError
from tests.fuzz.readers import READERS, SLOW_READERS

SECONDS = 5.0
"""Of processor time in which any file has to be read or refused."""

MEMORY = 2**20
"""KiB that the process may take more for it."""

LONGEST_MESSAGE = 10_000


def content_of(name: str, seed: int, number: int, good: list[bytes], folder: Path) -> bytes:
    """The damaged file of a number; the same for the same seed."""
    reader = (READERS | SLOW_READERS)[name]
    return reader.mutate(Random(f"{seed}/{name}/{number}"), good, folder)


def outcome(name: str, path: Path) -> str:
    """What became of a file: accepted, refused, or what went wrong."""
    reader = (READERS | SLOW_READERS)[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        reader.read(path)
        said = "accepted"
    except InputError as error:
        said = "refused" if len(str(error)) <= LONGEST_MESSAGE else "a message without end"
    except AssertionError as error:
        said = f"nonsense: {traceback.extract_tb(error.__traceback__)[-1].line}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__} in {where.name}: {str(error)[:200]!r}"
    if time.process_time() - start > SECONDS:
        said = f"slow: {time.process_time() - start:.1f} s"
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"memory: {more / 2**10:.0f} MiB" if more > MEMORY else said


def work(name: str, seed: int, first: int, last: int) -> None:
    """Inputs first, …, last − 1 of a reader."""
    reader = (READERS | SLOW_READERS)[name]
    with tempfile.TemporaryDirectory() as folder:
        good = reader.make(Path(folder))
        for content in good:
            path = Path(folder) / f"input{reader.suffix}"
            path.write_bytes(content)
            outcome(name, path)  # the first time, modules are imported
            said = outcome(name, path)
            assert said == "accepted", f"{name}: a good file is {said}"
        for number in range(first, last):
            path.write_bytes(content_of(name, seed, number, good, Path(folder)))
            print(number, end=" ", flush=True)
            print(outcome(name, path).replace("\n", " "), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    warnings.simplefilter("ignore", UserWarning)
    logging.disable()  # tifffile logs what it finds wrong with each file
    for command in sys.stdin:
        reader_name, *numbers = command.split("\t")
        work(reader_name, *map(int, numbers))
