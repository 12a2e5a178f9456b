"""`ppiscs simulate`: PPISCS against thickness for one specimen and any number of detectors."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from ppiscs_jax.cli.progress import describe, show_progress
from ppiscs_jax.cli.table import print_curves
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem
from ppiscs_jax.kernel import largest_relative_error
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulate import scattering_kernel
from ppiscs_jax.units import parse_fraction, parse_pair


class PairCommand(TyperCommand):
    """A command whose --detector takes two values and may be repeated.

    Typer knows options with two values and options that repeat, but not both at once.
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


def simulate(
    element: Annotated[
        str, typer.Option(metavar="SYMBOL", help="Chemical symbol of an fcc element.")
    ],
    zone: Annotated[str, typer.Option(metavar="UVW", help="Zone axis: 100 (or 001), 110 or 111.")],
    voltage: Annotated[float, typer.Option(metavar="KV", help="Accelerating voltage.")],
    convergence: Annotated[float, typer.Option(metavar="MRAD", help="Convergence semi-angle α.")],
    detector: Annotated[
        list[str],
        typer.Option(
            metavar="MRAD MRAD", help="Inner and outer collection angle. May be repeated."
        ),
    ],
    rmsd: Annotated[
        float | None,
        typer.Option(metavar="ANGSTROM", help="Rms thermal displacement per axis."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="KELVIN", help="Temperature, instead of --rmsd.")
    ] = None,
    atoms: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Largest number of atoms per column. Default: 87 for 110, 61 for 100, "
            "25 nm for 111.",
        ),
    ] = None,
    error: Annotated[
        str,
        typer.Option(metavar="PERCENT", help="Relative standard error wanted at every thickness."),
    ] = "0.5%",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of every random draw.")] = 0,
    c30: Annotated[
        float, typer.Option(metavar="MM", help="Spherical aberration. Has no effect on PPISCS.")
    ] = 0.0,
    c10: Annotated[
        float,
        typer.Option(
            metavar="ANGSTROM",
            help="Defocus C10, positive is overfocus. Has no effect on PPISCS.",
        ),
    ] = 0.0,
    out: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Save as .csv, .json or .h5. May be repeated."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save a figure: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Simulate probe-position integrated scattering cross-sections (PPISCS).

    One simulation serves all detectors. The table goes to stdout, the progress to stderr.
    """
    outputs = out or []
    settings, relative_error = _check(
        detectors=detector,
        error=error,
        outputs=outputs,
        plot=plot,
        element=element,
        zone_axis=zone,
        voltage_kv=voltage,
        convergence_mrad=convergence,
        rmsd_angstrom=rmsd,
        temperature_k=temperature,
        c30_mm=c30,
        c10_angstrom=c10,
    )
    angles = [(s.inner_mrad, s.outer_mrad) for s in settings]
    stderr = Console(stderr=True)
    with show_progress(stderr, describe) as progress:
        kernel = scattering_kernel(
            settings[0],
            angle_edges_mrad=sorted({angle for pair in angles for angle in pair}),
            detectors_mrad=angles,
            n_atoms=atoms,
            relative_error=relative_error,
            seed=seed,
            progress=progress,
        )
    curves = [kernel.curve(None, inner, outer) for inner, outer in angles]

    # The table first: it is there even if a disk fills up while files are written.
    print_curves(curves, Console())
    if outputs:
        from ppiscs_jax.dataset.curves import save_curves  # h5py is slow to import
    for path in outputs:
        save_curves(path, curves)
    if plot:
        from ppiscs_jax.plots.curves import plot_curves  # and so is matplotlib

        plot_curves(curves, plot)
    for path in [*outputs, *([plot] if plot else [])]:
        stderr.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    reached = largest_relative_error(kernel, [settings[0].convergence_mrad], angles)
    if not reached <= relative_error:
        stderr.print(
            f"warning: the largest relative standard error is {reached:.2%}, "
            f"above the {relative_error:.2%} asked for",
            markup=False,
            soft_wrap=True,
        )


def _check(
    *, detectors: list[str], error: str, outputs: list[Path], plot: Path | None, **fields
) -> tuple[list[Settings], float]:
    """Settings of every detector and the relative error; InputError lists every problem."""
    problems: list[str] = []
    settings = []
    relative_error = float("nan")
    for text in detectors:
        try:
            inner, outer = parse_pair(text, "detector", "mrad")
            settings.append(Settings(inner_mrad=inner, outer_mrad=outer, **fields))
        except InputError as bad:
            problems += bad.problems
    try:
        relative_error = parse_fraction(error, "error")
    except InputError as bad:
        problems += bad.problems
    problems += _output_problems(outputs, plot)
    if problems:
        # Detectors share their other fields, and so what is wrong with those.
        raise InputError(dict.fromkeys(problems))
    return settings, relative_error


def _output_problems(outputs: list[Path], plot: Path | None) -> list[str]:
    problems: list[str | None] = []
    if outputs:
        from ppiscs_jax.dataset.curves import SUFFIXES as DATA_SUFFIXES

        problems += [output_problem(path, DATA_SUFFIXES) for path in outputs]
    if plot:
        from ppiscs_jax.plots.curves import SUFFIXES as PLOT_SUFFIXES

        problems.append(output_problem(plot, PLOT_SUFFIXES))
    return [p for p in problems if p]
