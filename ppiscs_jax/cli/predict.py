"""`ppiscs predict`: PPISCS against thickness from a surrogate, at once."""

from pathlib import Path
from typing import Annotated

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
from ppiscs_jax.cli.simulate import simulated
from ppiscs_jax.errors import InputError
from ppiscs_jax.io.settings_csv import read_settings, write_predictions
from ppiscs_jax.settings import Settings
from ppiscs_jax.surrogate.predict import load_surrogate, outside_problems
from ppiscs_jax.surrogate.predict import predict as predict_curves
from ppiscs_jax.units import parse_fraction


def predict(
    element: Annotated[str | None, ELEMENT] = None,
    zone: Annotated[str | None, ZONE] = None,
    voltage: Annotated[float | None, VOLTAGE] = None,
    convergence: Annotated[float | None, CONVERGENCE] = None,
    detector: Annotated[list[str] | None, DETECTOR] = None,
    rmsd: Rmsd = None,
    temperature: Temperature = None,
    c30: C30 = 0.0,
    c10: C10 = 0.0,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV file with one row for each setting, used instead of the options above. "
            "Columns: element, zone_axis, voltage_kv, convergence_mrad, inner_mrad, outer_mrad, "
            "rmsd_angstrom or temperature_k; optional: c30_mm, c10_angstrom. --out must be one "
            ".csv file.",
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Also simulate, to this relative standard error at every thickness, and show "
            "both.",
        ),
    ] = None,
    out: Out = None,
    plot: Plot = None,
) -> None:
    """Predict probe-position integrated scattering cross-sections (PPISCS).

    Uses the surrogate that comes with the package, and prints its standard errors. Settings outside
    its trained range are an error.
    """
    outputs = out or []
    given = {
        "element": element,
        "zone_axis": zone,
        "voltage_kv": voltage,
        "convergence_mrad": convergence,
    }
    if csv is not None:
        _predict_file(csv, outputs, [*given.values(), detector, rmsd, temperature, check, plot])
        return
    problems = [f"{name}: missing" for name, value in {**given, "detector": detector}.items()
                if value is None]  # fmt: skip
    settings: list[Settings] = []
    if not problems:
        settings, problems = settings_of(
            detector or [],
            **given,
            rmsd_angstrom=rmsd,
            temperature_k=temperature,
            c30_mm=c30,
            c10_angstrom=c10,
        )
    problems += output_problems(outputs, plot)
    relative_error = None
    if check is not None:
        try:
            relative_error = parse_fraction(check, "check")
        except InputError as bad:
            problems += bad.problems
    if problems:
        raise InputError(problems)

    curves = [predict_curves(each, outside="raise") for each in settings]
    checks = []
    if relative_error:
        kernel = simulated(settings, relative_error=relative_error)
        checks = [kernel.curve_of(s) for s in settings]
    write_curves(curves, outputs, plot, checks)


def _predict_file(path: Path, outputs: list[Path], others: list[object]) -> None:
    """Curves of the settings in a CSV file, as another."""
    problems = output_problems(outputs, None, inputs=[path])
    if len(outputs) != 1 or outputs[0].suffix.lower() != ".csv":
        problems.append("out: with --csv, give one .csv file")
    if any(other is not None for other in others):
        problems.append("csv: cannot be combined with settings, --check or --plot")
    if problems:
        raise InputError(problems)
    rows, numbers = read_settings(path)
    outside = outside_problems(load_surrogate(), rows, "line", numbers)
    if outside:
        raise InputError(f"{path}: {problem}" for problem in outside)
    write_predictions(outputs[0], rows, predict_curves(rows, outside="raise"))
    typer.echo(f"wrote {outputs[0]}", err=True)
