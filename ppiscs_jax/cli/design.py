"""`ppiscs design`: the detector, aperture and voltage that count atoms best."""

import csv
import json
from functools import partial
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ppiscs_jax.cli.options import (
    C10,
    C30,
    CONVERGENCE,
    ELEMENT,
    VOLTAGE,
    ZONE,
    PairCommand,
    Rmsd,
    Temperature,
    settings_of,
)
from ppiscs_jax.cli.output import new_console, save_then_show
from ppiscs_jax.cli.table import print_table
from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.files import output_problem, replacing
from ppiscs_jax.settings import LARGEST_MRAD, RANGES, VECTOR_ORDER, Settings
from ppiscs_jax.surrogate.additive import AdditiveModel
from ppiscs_jax.surrogate.predict import ADDITIVE, load_surrogate, predict
from ppiscs_jax.surrogate.ranges import TrainedRange
from ppiscs_jax.units import parse_pair

FIELDS = {
    "inner": "inner_mrad",
    "outer": "outer_mrad",
    "convergence": "convergence_mrad",
    "voltage": "voltage_kv",
}
"""Fields of `Settings` that --vary accepts, by their names."""

SUFFIXES = (".json", ".csv")

Points = dict[str, tuple[Settings, float]]
"""Settings and their P_e, by name."""


class DesignCommand(PairCommand):
    """Also a --vary that takes three values and may be repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the three values that follow each --vary into one."""
        rest, joined = list(args), []
        while rest:
            joined.append(rest.pop(0))
            if joined[-1] == "--vary":
                values = list(takewhile(lambda word: not word.startswith("--"), rest[:3]))
                del rest[: len(values)]
                joined.append(" ".join(values))
        return super().parse_args(ctx, joined)


def design(
    element: Annotated[str | None, ELEMENT] = None,
    zone: Annotated[str | None, ZONE] = None,
    voltage: Annotated[float | None, VOLTAGE] = None,
    convergence: Annotated[float | None, CONVERGENCE] = None,
    detector: Annotated[
        str | None,
        typer.Option(metavar="MRAD MRAD", help="Inner and outer collection angle to start from."),
    ] = None,
    dose: Annotated[
        float | None, typer.Option(metavar="E_PER_A2", help="Electrons per Å² of the image.")
    ] = None,
    atoms: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="FEWEST MOST", help="Atoms that a column may have."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD LOW HIGH",
            help=f"What may be chosen ({', '.join(FIELDS)}), and its bounds in mrad or kV. May "
            "be repeated.",
        ),
    ] = None,
    voltages: Annotated[
        str | None,
        typer.Option(metavar="KV,KV,...", help="Voltages to choose from, instead of a range."),
    ] = None,
    least_width: Annotated[
        float, typer.Option(metavar="MRAD", help="Least width of the detector.")
    ] = 10.0,
    beyond_aperture: Annotated[
        float | None,
        typer.Option(
            metavar="MRAD",
            help="Smallest difference between the inner angle and the convergence semi-angle. "
            "Default: no restriction.",
        ),
    ] = None,
    rmsd: Rmsd = None,
    temperature: Temperature = None,
    c30: C30 = 0.0,
    c10: C10 = 0.0,
    out: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Save as .json, or the table as .csv. May be repeated."),
    ] = None,
) -> None:
    """Find the settings with the lowest probability of miscounting atoms, P_e.

    Curves are predicted by the surrogate that comes with the package. Counts are Poisson
    distributed, and all numbers of atoms are equally probable. The result is at least as good as
    the best point of a coarse grid.
    """
    # These import much of scipy, which is slow.
    from ppiscs_jax.inverse.design import best_design
    from ppiscs_jax.inverse.error_probability import error_probability

    surrogate = load_surrogate()
    start, asked = _check(
        surrogate=surrogate,
        detector=detector,
        dose=dose,
        atoms=atoms,
        vary=vary or [],
        voltages=voltages,
        least_width=least_width,
        beyond_aperture=beyond_aperture,
        outputs=out or [],
        element=element,
        zone_axis=zone,
        voltage_kv=voltage,
        convergence_mrad=convergence,
        rmsd_angstrom=rmsd,
        temperature_k=temperature,
        c30_mm=c30,
        c10_angstrom=c10,
    )
    found = best_design(surrogate.curve, start, **asked)
    fewest, most = asked["n_atoms"]
    curve = predict(start.to_vector())[fewest - 1 : most]
    error = float(error_probability(curve, asked["dose_per_angstrom2"]))
    points = {
        "start": (start, error),
        "best on the grid": (Settings.from_vector(found.grid_x), found.grid_error_probability),
        "optimum": (found.settings, found.error_probability),
    }
    descents = {"descents": len(found.converged), "converged": int(found.converged.sum())}
    files = [(path, partial(_save, path, points, {**asked, **descents})) for path in out or []]
    save_then_show(files, lambda: _show(points, asked, descents))


def _check(
    *,
    surrogate: AdditiveModel,
    detector: str | None,
    dose: float | None,
    atoms: tuple[int, int] | None,
    vary: list[str],
    voltages: str | None,
    least_width: float,
    beyond_aperture: float | None,
    outputs: list[Path],
    **fields: Any,
) -> tuple[Settings, dict[str, Any]]:
    """Starting settings and the arguments of `best_design`; InputError lists every problem."""
    from ppiscs_jax.inverse.error_probability import MOST_DOSE

    trained = surrogate.trained_range
    specimen = {n: fields[n] for n in ("element", "zone_axis", "voltage_kv", "convergence_mrad")}
    needed = {**specimen, "detector": detector, "dose": dose, "atoms": atoms}
    problems: list[str | None] = [f"{n}: missing" for n, value in needed.items() if value is None]
    starts: list[Settings] = []
    if detector is not None and None not in specimen.values():
        starts, wrong = settings_of([detector], **fields)
        problems += wrong
    for start in starts:
        for field, inside in trained.check(start.to_vector()[None]):
            if not inside[0]:
                problems.append(f"{field}: must be {trained.allowed(field)}")
    if dose is not None:
        problems.append(range_problem("dose", dose, 0, MOST_DOSE, "e⁻/Å²", open_low=True))
    if atoms is not None:
        of_starts = (s.zone_axis_data.thickest(s.element_data) for s in starts)
        thickest = min(of_starts, default=surrogate.thickness.shape[-1])
        problems += [range_problem("atoms", n, 1, thickest, "") for n in atoms]
        if atoms[0] >= atoms[1]:
            problems.append(f"atoms = {atoms[0]} {atoms[1]}: the fewest must be below the most")
    bounds, wrong = _bounds(vary, trained)
    problems += wrong
    voltages_kv, wrong = _voltages(voltages, trained)
    problems += wrong
    if not vary and voltages is None:
        problems.append("vary: missing; give --vary or --voltages")
    if "voltage_kv" in bounds and voltages is not None:
        problems.append("voltages: give them, or --vary voltage, not both")
    problems.append(
        range_problem("least_width", least_width, 0, LARGEST_MRAD, "mrad", open_low=True)
    )
    if beyond_aperture is not None:
        problems.append(range_problem("beyond_aperture", beyond_aperture, 0, LARGEST_MRAD, "mrad"))
    problems += [output_problem(path, SUFFIXES) for path in outputs]
    if any(problems):
        raise InputError(dict.fromkeys(p for p in problems if p))
    return starts[0], {
        "vary": bounds,
        "dose_per_angstrom2": dose,
        "n_atoms": atoms,
        "voltages_kv": voltages_kv,
        "least_width_mrad": least_width,
        "beyond_aperture_mrad": beyond_aperture,
    }


def _bounds(
    texts: list[str], trained: TrainedRange
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Bounds from every --vary, by fields of `Settings`, and what is wrong with them."""
    bounds: dict[str, tuple[float, float]] = {}
    problems: list[str | None] = []
    for text in texts:
        name, _, numbers = text.partition(" ")
        if problem := choice_problem("vary", name, FIELDS):
            problems.append(problem)
            continue
        field, unit = FIELDS[name], RANGES[FIELDS[name]][2]
        if field in bounds:
            problems.append(f"vary {name}: given twice")
        try:
            bounds[field] = low, high = parse_pair(numbers, f"vary {name}", unit)
        except InputError as bad:
            problems += bad.problems
            continue
        limits = trained.limits[field]
        problems += [range_problem(f"vary {name}", n, *limits, unit) for n in (low, high)]
        if low >= high:
            problems.append(f"vary {name} = {numbers}: the lowest must be below the highest")
    return bounds, [p for p in problems if p]


def _voltages(text: str | None, trained: TrainedRange) -> tuple[list[float] | None, list[str]]:
    """Numbers from --voltages [kV], and what is wrong with them."""
    if text is None:
        return None, []
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None, [f"voltages = {text!r}: must be numbers [kV] with commas between them"]
    limits = trained.limits["voltage_kv"]
    problems = (range_problem("voltages", number, *limits, "kV") for number in numbers)
    return numbers, [p for p in problems if p]


def _show(points: Points, asked: dict[str, Any], descents: dict[str, int]) -> None:
    """The settings and their P_e, then what was asked."""
    table = Table()
    table.add_column("")
    for heading in ("voltage (kV)", "α (mrad)", "θ₀ (mrad)", "θₑ (mrad)", "P_e"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, (s, p) in points.items():
        numbers = (s.voltage_kv, s.convergence_mrad, s.inner_mrad, s.outer_mrad, p)
        table.add_row(name, *(f"{number:.4g}" for number in numbers))
    console = new_console()
    print_table(table, console)
    s, _ = points["start"]
    fewest, most = asked["n_atoms"]
    for line in (
        f"{s.element} [{s.zone_axis}], rmsd {s.rmsd_angstrom:.4g} Å, {fewest}–{most} atoms, "
        f"{asked['dose_per_angstrom2']:g} e⁻/Å²",
        f"P_e: probability of a wrong number of atoms; surrogate {ADDITIVE!r}; "
        f"{descents['converged']} of {descents['descents']} descents converged",
    ):
        console.print(line, soft_wrap=True)


def _save(path: Path, points: Points, about: dict[str, Any]) -> None:
    """Write all of it as JSON, or the table as CSV, whole or not at all."""
    rows = {
        name: {**{f: getattr(s, f) for f in VECTOR_ORDER}, "error_probability": p}
        for name, (s, p) in points.items()
    }
    made_by = f"ppiscs-jax {version('ppiscs-jax')}"
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        if path.suffix.lower() == ".json":
            everything = {"made_by": made_by, "model": ADDITIVE, **about, "points": rows}
            file.write(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
            return
        dose, (fewest, most) = about["dose_per_angstrom2"], about["n_atoms"]
        file.write(f"# {made_by}; {fewest} to {most} atoms; {dose:g} e⁻/Å²\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["point", *rows["start"]])
        writer.writerows([name, *row.values()] for name, row in rows.items())
