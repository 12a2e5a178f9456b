"""`ppiscs simulate`: PPISCS against thickness for one specimen and any number of detectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ppiscs_jax.cli.options import (
    C10,
    C30,
    CONVERGENCE,
    DETECTOR,
    ELEMENT,
    VOLTAGE,
    ZONE,
    Out,
    Plot,
    Rmsd,
    Temperature,
    output_problems,
    settings_of,
    write_curves,
)
from ppiscs_jax.cli.output import new_console
from ppiscs_jax.cli.progress import show_progress
from ppiscs_jax.cli.table import print_cross_check
from ppiscs_jax.errors import InputError
from ppiscs_jax.interop.abtem import import_abtem
from ppiscs_jax.interop.cross_check import CROSS_CHECK_ATOMS, cross_check
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.kernel import ScatteringKernel, largest_relative_error
from ppiscs_jax.simulation.simulate import MAX_WAVES, scattering_kernel
from ppiscs_jax.units import parse_fraction


def simulate(
    element: Annotated[str, ELEMENT],
    zone: Annotated[str, ZONE],
    voltage: Annotated[float, VOLTAGE],
    convergence: Annotated[float, CONVERGENCE],
    detector: Annotated[list[str], DETECTOR],
    rmsd: Rmsd = None,
    temperature: Temperature = None,
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
    mistilt: Annotated[
        tuple[float, float],
        typer.Option(
            metavar="MRAD MRAD",
            help="Direction of the optical axis in the crystal's frame, x and y.",
        ),
    ] = (0.0, 0.0),
    max_waves: Annotated[
        int,
        typer.Option(metavar="N", help="Stop there, even if the error is not reached."),
    ] = MAX_WAVES,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Batches computed at once. Default: one per core."),
    ] = None,
    cross_checked: Annotated[
        bool,
        typer.Option(
            "--cross-check",
            help="Put some waves through abTEM too, and print the ratio in every bin of "
            "collection angle. Needs the extra abtem.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    c30: C30 = 0.0,
    c10: C10 = 0.0,
    out: Out = None,
    plot: Plot = None,
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
        with_abtem=cross_checked,
        element=element,
        zone_axis=zone,
        voltage_kv=voltage,
        convergence_mrad=convergence,
        rmsd_angstrom=rmsd,
        temperature_k=temperature,
        c30_mm=c30,
        c10_angstrom=c10,
        mistilt_mrad=mistilt,
    )
    kernel = simulated(
        settings,
        quiet,
        relative_error=relative_error,
        n_atoms=atoms,
        max_waves=max_waves,
        seed=seed,
        workers=workers,
    )
    curves = [kernel.curve_of(s) for s in settings]
    write_curves(curves, outputs, plot)
    reached = largest_relative_error(kernel, [settings[0].convergence_mrad], _angles(settings))
    if not reached <= relative_error:
        typer.echo(
            f"warning: the largest relative standard error is {reached:.2%}, "
            f"above the {relative_error:.2%} asked for",
            err=True,
        )
    if cross_checked:
        with show_progress(new_console(stderr=True, quiet=quiet)) as progress:
            check = cross_check(
                settings[0],
                detectors_mrad=_angles(settings),
                n_atoms=min(CROSS_CHECK_ATOMS, len(curves[0])),
                seed=seed,
                progress=progress,
            )
        print_cross_check(check, new_console())


def simulated(
    settings: Sequence[Settings], quiet: bool = False, **options: Any
) -> ScatteringKernel:
    """One simulation for settings that differ in their detectors, with progress unless `quiet`."""
    angles = _angles(settings)
    with show_progress(new_console(stderr=True, quiet=quiet)) as progress:
        return scattering_kernel(
            settings[0],
            angle_edges_mrad=sorted({angle for pair in angles for angle in pair}),
            detectors_mrad=angles,
            progress=progress,
            **options,
        )


def _angles(settings: Sequence[Settings]) -> list[tuple[float, float]]:
    return [(s.inner_mrad, s.outer_mrad) for s in settings]


def _check(
    *,
    detectors: list[str],
    error: str,
    outputs: list[Path],
    plot: Path | None,
    with_abtem: bool,
    **fields: Any,
) -> tuple[list[Settings], float]:
    """Settings of every detector and the relative error; InputError lists every problem."""
    settings, problems = settings_of(detectors, **fields)
    relative_error = float("nan")
    try:
        relative_error = parse_fraction(error, "error")
    except InputError as bad:
        problems += bad.problems
    problems += output_problems(outputs, plot)
    if with_abtem:
        try:
            import_abtem()
        except InputError as missing:
            problems += missing.problems
    if problems:
        raise InputError(problems)
    return settings, relative_error
