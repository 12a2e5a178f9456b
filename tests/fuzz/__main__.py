"""Give damaged files to the readers of the package, and count what becomes of them.

python -m tests.fuzz --inputs 20000 --seed 0 --reader "library mat" --keep folder
"""

import argparse
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.readers import READERS, SLOW_READERS
from tests.fuzz.worker import content_of

START, PATIENCE = 300.0, 120.0
"""Seconds without a word after which a process is taken to hang: of its start, of an input."""

MOST_FINDINGS = 20
"""After so many of a reader its other inputs are left out."""


class Process:
    """A process that gives damaged files to readers, and is started again when it dies of one."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fuzz.worker"]
        self._pipes = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._pipes.stdin is not None
        assert self._pipes.stdout is not None
        self._tell, self._hear = self._pipes.stdin, self._pipes.stdout

    def outcomes(self, name: str, seed: int, first: int, last: int) -> Iterator[tuple[int, str]]:
        """Number and outcome of each input, up to the one that the process dies of."""
        self._tell.write(f"{name}\t{seed}\t{first}\t{last}\n".encode())
        heard, number, patience = b"", first, START
        with selectors.DefaultSelector() as selector:
            selector.register(self._hear, selectors.EVENT_READ)
            while number < last:
                if not selector.select(patience):
                    self.end()
                    yield number, "hang"
                    return
                if not (more := self._hear.read(65536)):
                    yield number, f"crash: exit code {self._pipes.wait()}"
                    return
                patience = PATIENCE
                *lines, heard = (heard + more).split(b"\n")
                for line in lines:
                    said = line.decode(errors="replace").partition(" ")
                    number = int(said[0]) + 1
                    yield int(said[0]), said[2]

    @property
    def lives(self) -> bool:
        """Whether it can be given more."""
        return self._pipes.poll() is None

    def end(self) -> None:
        """Kill it."""
        self._pipes.kill()
        self._pipes.wait()


def fuzz(
    name: str, seed: int, inputs: int, process: Process
) -> tuple[Counter, dict[int, str], Process]:
    """Number of inputs accepted and refused, what is wrong with others, and the process to go on.

    Raises:
        RuntimeError: not even the good files can be read.
    """
    counts: Counter = Counter()
    findings: dict[int, str] = {}
    number = 0
    while number < inputs and len(findings) < MOST_FINDINGS:
        if not process.lives:
            process = Process()
        first = number
        for number, said in process.outcomes(name, seed, first, inputs):
            if said in ("accepted", "refused"):
                counts[said] += 1
            else:
                findings[number] = said
                print(f"{name}, seed {seed}, input {number}: {said}", flush=True)
            if len(findings) >= MOST_FINDINGS:
                process.end()
                break
        number += 1
    return counts, findings, process


def keep(name: str, seed: int, number: int, folder: Path) -> None:
    """Write the damaged file of a finding to a folder, for tests/fuzz/findings."""
    reader = (READERS | SLOW_READERS)[name]
    with tempfile.TemporaryDirectory() as scratch:
        good = reader.make(Path(scratch))
        content = content_of(name, seed, number, good, Path(scratch))
    folder.mkdir(parents=True, exist_ok=True)
    words = name.replace(",", "").replace(" ", "_")
    (folder / f"{words}-{seed}-{number}{reader.suffix}").write_bytes(content)


def main() -> int:
    """Fuzz and print a table; 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", help="default: all")
    parser.add_argument("--keep", type=Path, help="folder for files of findings")
    given = parser.parse_args()
    rows, found, process = [], 0, Process()
    for name in given.reader or (*READERS, *SLOW_READERS):
        inputs = given.inputs if name in READERS else given.inputs // 20
        counts, findings, process = fuzz(name, given.seed, inputs, process)
        rows.append((name, sum(counts.values()) + len(findings), counts, len(findings)))
        found += len(findings)
        for number in findings if given.keep else ():
            keep(name, given.seed, number, given.keep)
    process.end()
    print(f"seed {given.seed}")
    print(f"{'reader':28}{'inputs':>8}{'refused':>9}{'accepted':>10}{'findings':>10}")
    for name, inputs, counts, findings in rows:
        print(f"{name:28}{inputs:8}{counts['refused']:9}{counts['accepted']:10}{findings:10}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
