"""`ppiscs count`: the numbers of atoms of the columns of an ADF image."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ppiscs_jax.cli.options import (
    CONVERGENCE,
    ELEMENT,
    VOLTAGE,
    ZONE,
    Rmsd,
    Temperature,
    settings_of,
)
from ppiscs_jax.cli.output import new_console
from ppiscs_jax.cli.table import print_table, with_error
from ppiscs_jax.errors import InputError
from ppiscs_jax.settings import Settings

if TYPE_CHECKING:  # slow to import
    from ppiscs_jax.counting.methods import Sensitivity
    from ppiscs_jax.counting.result import Counted


def count(
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE",
            help=".npy, .tif, .h5, .mat of StatSTEM; with the extra io also .dm3, .dm4, .emd, "
            ".ser, .mrc, .hspy.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where all results are written.")],
    element: Annotated[str | None, ELEMENT] = None,
    zone: Annotated[str | None, ZONE] = None,
    voltage: Annotated[float | None, VOLTAGE] = None,
    convergence: Annotated[float | None, CONVERGENCE] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(metavar="MRAD MRAD", help="Inner and outer collection angle."),
    ] = None,
    rmsd: Rmsd = None,
    temperature: Temperature = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Configuration file of ppiscs fit (TOML), used instead of the options above: "
            "[nominal] has the settings, [std] the standard deviations of uncertain settings and "
            "of the gain.",
        ),
    ] = None,
    pixel: Annotated[
        float | None,
        typer.Option(metavar="ANGSTROM", help="Edge of a pixel, where the file does not say."),
    ] = None,
    normalised: Annotated[
        bool,
        typer.Option("--normalised", help="Intensities are fractions of the incident beam."),
    ] = False,
    vacuum_level: Annotated[
        float | None, typer.Option(metavar="I", help="Intensity without any beam.")
    ] = None,
    detector_level: Annotated[
        float | None,
        typer.Option(metavar="I", help="Mean intensity with the beam on the detector."),
    ] = None,
    detector_scan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Image of the detector, which gives the two levels and its radial sensitivity.",
        ),
    ] = None,
    dose: Annotated[
        float | None, typer.Option(metavar="E", help="Electrons per Å², for standard errors.")
    ] = None,
    positions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV file with x_angstrom and y_angstrom. Default: columns are detected.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="joint (default where intensities are normalised), hybrid, library, or "
            "statistics, which needs no settings.",
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Cross-sections by gaussians or voronoi cells.")
    ] = "gaussians",
    components: Annotated[
        int | None, typer.Option(metavar="N", help="Components of the statistics.")
    ] = None,
    offset: Annotated[
        int, typer.Option(metavar="N", help="Number of atoms of the first component, minus one.")
    ] = 0,
    plane: Annotated[
        bool, typer.Option("--plane", help="The background is a plane, not a constant.")
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Measure columns as Gaussians of one width. By default, the probe's tails are "
            "given back to their columns, and thicker columns are wider.",
        ),
    ] = False,
    mistilt_std: Annotated[
        float | None,
        typer.Option(
            metavar="MRAD",
            help="Standard deviation of each component of the crystal's mistilt, for the joint "
            "method; its effect is simulated first.",
        ),
    ] = None,
    frame: Annotated[
        int | None, typer.Option(metavar="N", help="Which image of a stack, from 0.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of several images of a file.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Seed of all random draws.")] = 0,
) -> None:
    """Count the atoms of every column of an ADF image.

    Writes a table of the columns (counts.csv), everything (counts.json), figures and a report
    (report.html).
    """
    from ppiscs_jax.counting.columns import read_positions
    from ppiscs_jax.counting.count import count as count_atoms
    from ppiscs_jax.counting.images import load_image, normalise

    problems: list[str] = []
    given = {
        "element": element,
        "zone_axis": zone,
        "voltage_kv": voltage,
        "convergence_mrad": convergence,
    }
    settings, std, problems = _settings(config, given, detector, rmsd, temperature)
    if out.exists() and not out.is_dir():
        problems.append(f"out {out}: is a file, not a folder")
    if not out.absolute().parent.is_dir():
        problems.append(f"out {out}: the folder {out.absolute().parent} does not exist")
    levels = [vacuum_level, detector_level]
    if (vacuum_level is None) != (detector_level is None):
        problems.append("vacuum_level, detector_level: give both or none")
    if sum([normalised, detector_scan is not None, None not in levels]) > 1:
        problems.append(
            "normalised, vacuum_level with detector_level, detector_scan: give one of them at most"
        )
    if problems:
        raise InputError(problems)
    read = load_image(image, pixel_angstrom=pixel, frame=frame, name=name, normalised=normalised)
    sensitivity = None
    if detector_scan is not None:
        vacuum_level, detector_level, sensitivity = _from_scan(detector_scan, settings)
    if vacuum_level is not None and detector_level is not None:
        read = normalise(read, vacuum_level, detector_level)
    typer.echo(
        f"{image}: {read.pixels.shape[1]} × {read.pixels.shape[0]} pixels of "
        f"{read.pixel_angstrom:.5g} Å",
        err=True,
    )
    options: dict[str, Any] = {} if std is None else {"std": std}
    with _stages() as say:
        counted = count_atoms(
            read,
            settings,
            method=method,  # type: ignore[arg-type]
            positions_angstrom=None if positions is None else read_positions(positions),
            by=by,  # type: ignore[arg-type]
            dose_per_angstrom2=dose,
            mistilt_std_mrad=mistilt_std,
            sensitivity=sensitivity,
            components=components,
            offset=offset,
            plane=plane,
            plain=plain,
            seed=seed,
            progress=say,
            **options,
        )
    for path in counted.save(out):
        typer.echo(f"wrote {path}", err=True)
    _print(counted)


def _settings(
    config: Path | None,
    given: dict[str, Any],
    detectors: list[str] | None,
    rmsd: float | None,
    temperature: float | None,
) -> tuple[Settings | None, dict[str, float] | None, list[str]]:
    """Settings and what is uncertain of them, or what is wrong; none where none are given."""
    values = [*given.values(), detectors, rmsd, temperature]
    if config is not None:
        from ppiscs_jax.config import load_config
        from ppiscs_jax.inverse.config import FitConfig

        if any(v is not None for v in values):
            return None, None, ["config: cannot be combined with options of its settings"]
        loaded = load_config(config, FitConfig)
        return loaded.settings(), loaded.std or None, []
    if all(v is None for v in values):
        return None, None, []
    missing = [f"{n}: missing" for n, v in {**given, "detector": detectors}.items() if v is None]
    if missing:
        return None, None, missing
    if len(detectors or []) != 1:
        return None, None, ["detector: give one"]
    settings, problems = settings_of(
        detectors or [], **given, rmsd_angstrom=rmsd, temperature_k=temperature
    )
    return (settings[0] if settings else None), None, problems


def _from_scan(path: Path, settings: Settings | None) -> tuple[float, float, "Sensitivity | None"]:
    """Levels of vacuum and detector, and the radial sensitivity, from an image of the detector."""
    from ppiscs_jax.counting.detector import detector_levels, radial_sensitivity
    from ppiscs_jax.counting.images import read_pixels

    scan = read_pixels(path)
    vacuum, detector = detector_levels(scan)
    typer.echo(f"{path}: vacuum {vacuum:.5g}, detector {detector:.5g}", err=True)
    if settings is None:
        return vacuum, detector, None
    try:
        found = radial_sensitivity(scan, settings.inner_mrad, settings.outer_mrad)
    except InputError as error:
        typer.echo(f"{error}; the detector is taken to be uniform", err=True)
        return vacuum, detector, None
    low, high = found[1].min(), found[1].max()
    typer.echo(f"{path}: radial sensitivity {low:.2f} to {high:.2f} of its mean", err=True)
    return vacuum, detector, found


@contextmanager
def _stages() -> Iterator[Any]:
    """Report the current stage: a spinner on a terminal, a line per stage elsewhere."""
    console = new_console(stderr=True)
    if console.is_terminal:
        with console.status("reading") as status:
            yield lambda text: status.update(text)
        return
    last = ""

    def say(text: str) -> None:
        nonlocal last
        stage = text.split(":")[0]
        if stage != last:
            last = stage
            console.print(stage, soft_wrap=True)

    yield say


def _print(counted: "Counted") -> None:
    """Solutions with their probabilities, and the total."""
    counts = counted.counts
    table = Table()
    for head in ("solution", "probability", "atoms in all"):
        table.add_column(head, justify="right", no_wrap=True)
    names = list(counts.solutions[0].estimates)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for e in counts.solutions:
        probability = f"{e.probability:.3g}" if e.probability == e.probability else ""
        table.add_row(
            e.name, probability, str(e.total), *(with_error(*e.estimates[n]) for n in names)
        )
    print_table(table, new_console())
    wrong = float((1 - counts.probability).sum())
    typer.echo(
        f"{counts.total} atoms in {len(counts.counts)} columns; expected number of wrong columns: "
        f"{wrong:.1f}"
    )
    if counts.mixtures is not None:
        minima = ", ".join(map(str, sorted(counts.mixtures.minima))) or "none"
        typer.echo(f"ICL has minima at {minima} components; --components chooses another")
