"""Options and output that several commands share."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ppiscs_jax.cli.output import new_console, save_then_show
from ppiscs_jax.cli.table import print_curves
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.curve import Curve
from ppiscs_jax.units import parse_pair

ELEMENT = typer.Option(metavar="SYMBOL", help="Chemical symbol of an fcc element.")
ZONE = typer.Option(metavar="UVW", help="Zone axis: 100 (or 001), 110 or 111.")
VOLTAGE = typer.Option(metavar="KV", help="Accelerating voltage.")
CONVERGENCE = typer.Option(metavar="MRAD", help="Convergence semi-angle α.")
DETECTOR = typer.Option(
    metavar="MRAD MRAD", help="Inner and outer collection angle. May be repeated."
)
Rmsd = Annotated[
    float | None,
    typer.Option(metavar="ANGSTROM", help="Rms thermal displacement per axis."),
]
Temperature = Annotated[
    float | None, typer.Option(metavar="KELVIN", help="Temperature, instead of --rmsd.")
]
C30 = Annotated[
    float, typer.Option(metavar="MM", help="Spherical aberration. Has no effect on PPISCS.")
]
C10 = Annotated[
    float,
    typer.Option(
        metavar="ANGSTROM",
        help="Defocus C10, positive is overfocus. Has no effect on PPISCS.",
    ),
]
Out = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Save as .csv, .json or .h5. May be repeated."),
]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Save a figure: .png, .pdf or .svg.")
]


class PairCommand(TyperCommand):
    """A command whose --detector takes two values and may be repeated.

    Typer supports options with two values and options that repeat, but not both at once.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two values that follow each --detector into one."""
        joined: list[str] = []
        waiting = 0
        for arg in args:
            if waiting and not arg.startswith("--"):
                joined[-1] = f"{joined[-1]} {arg}".strip()
                waiting -= 1
            elif arg == "--detector":
                joined += [arg, ""]
                waiting = 2
            else:
                joined.append(arg)
                waiting = 0
        return super().parse_args(ctx, joined)


def settings_of(detectors: Sequence[str], **fields: Any) -> tuple[list[Settings], list[str]]:
    """Settings for every detector, or what is wrong with them."""
    problems: list[str] = []
    settings = []
    for text in detectors:
        try:
            inner, outer = parse_pair(text, "detector", "mrad")
            settings.append(Settings(inner_mrad=inner, outer_mrad=outer, **fields))
        except InputError as bad:
            problems += bad.problems
    # Detectors share their other fields, and so what is wrong with those.
    return settings, list(dict.fromkeys(problems))


def output_problems(
    outputs: Sequence[Path], plot: Path | None, inputs: Sequence[Path] = ()
) -> list[str]:
    """Say why curves or figures could not be written; inputs must not be overwritten."""
    problems: list[str | None] = []
    if outputs:
        from ppiscs_jax.io.curves import SUFFIXES as DATA_SUFFIXES  # h5py is slow to import

        problems += [output_problem(path, DATA_SUFFIXES, inputs) for path in outputs]
    if plot:
        from ppiscs_jax.plots.curves import SUFFIXES as PLOT_SUFFIXES  # and so is matplotlib

        problems.append(output_problem(plot, PLOT_SUFFIXES, inputs))
    return [p for p in problems if p]


def write_curves(
    curves: Sequence[Curve],
    outputs: Sequence[Path],
    plot: Path | None,
    checks: Sequence[Curve] = (),
) -> None:
    """The files, then the table to stdout; checks go into the table and the figure."""
    files: list[tuple[Path, Callable[[], object]]] = []
    if outputs:
        from ppiscs_jax.io.curves import save_curves

        files += [(path, partial(save_curves, path, curves)) for path in outputs]
    if plot:
        from ppiscs_jax.plots.curves import plot_curves

        files.append((plot, partial(plot_curves, curves, plot, checks=checks)))
    save_then_show(files, lambda: print_curves(curves, new_console(), checks))
