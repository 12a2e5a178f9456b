"""Progress of long work: a state after every step, passed to a callback or printed."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

SECONDS_BETWEEN_LINES = 5.0
"""Time between two printed lines of progress [s]."""


class Progress(Protocol):
    """State of long work, given to progress callbacks; as text it is one line.

    Simulations, campaigns and trainings each have states of their own, with more attributes.

    Attributes:
        seconds_left: estimated time left [s], NaN until known.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> states: list[pp.Progress] = []
        >>> curve = pp.simulate(settings, 0.05, n_atoms=2, progress=states.append)
        >>> len(states) > 0  # one state after every batch of waves
        True
    """

    @property
    def seconds_left(self) -> float:
        """Estimated time left [s]."""


Callback = Callable[[Any], None] | bool | None
"""How progress is reported: to a function, in lines on stderr (True), or not (None, False)."""


def callback_of(progress: Callback) -> Callable[[Any], None] | None:
    """The function to be called, or None."""
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return None
    printed = time.monotonic()

    def print_line(state: Progress) -> None:
        nonlocal printed
        if time.monotonic() - printed >= SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            print(state, file=sys.stderr, flush=True)

    return print_line


def time_left(seconds: float) -> str:
    """`, about 3 min left`, or nothing where it is not known."""
    if not math.isfinite(seconds):
        return ""
    if seconds < 60:
        return f", about {seconds:.0f} s left"
    minutes = round(seconds / 60)
    text = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f", about {text} left"
