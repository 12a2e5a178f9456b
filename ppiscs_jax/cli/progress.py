"""Progress of simulations and campaigns on stderr."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressDisplay

from ppiscs_jax.progress import SECONDS_BETWEEN_LINES, Progress


@contextmanager
def show_progress(
    console: Console,
    seconds_between_lines: float = SECONDS_BETWEEN_LINES,
) -> Iterator[Callable[[Progress], None]]:
    """A callback that draws a display on a terminal and prints occasional lines elsewhere."""
    with _lasting_interrupts() as check:

        def checked(update: Callable[[Progress], None]) -> Callable[[Progress], None]:
            def checked_update(state: Progress) -> None:
                check()
                update(state)

            return checked_update

        if console.is_terminal:
            with _display(console) as update:
                yield checked(update)
        else:
            yield checked(_lines(console, seconds_between_lines))


@contextmanager
def _lasting_interrupts() -> Iterator[Callable[[], None]]:
    """A check that raises KeyboardInterrupt where Python has dropped it after Ctrl-C.

    Python drops exceptions that are raised in callbacks of the garbage collector, of which JAX has
    one.
    """
    interrupted = False

    def note(_signal: int, _frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


def _lines(console: Console, seconds_between_lines: float) -> Callable[[Progress], None]:
    last = time.monotonic()

    def update(state: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds_between_lines:
            last = time.monotonic()
            console.print(str(state), soft_wrap=True)

    return update


@contextmanager
def _display(console: Console) -> Iterator[Callable[[Progress], None]]:
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with ProgressDisplay(*columns, console=console, transient=True) as display:
        task = display.add_task("preparing", total=None)
        started = time.monotonic()

        def update(state: Progress) -> None:
            elapsed = time.monotonic() - started
            known = isfinite(state.seconds_left)
            display.update(
                task,
                description=str(state),
                total=elapsed + state.seconds_left if known else None,
                completed=elapsed,
            )

        yield update
