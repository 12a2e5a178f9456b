"""`ppiscs fit` and `ppiscs uncertainty`: estimate settings, and propagate their uncertainty."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ppiscs_jax.cli.compilation_cache import compiled_quickly
from ppiscs_jax.cli.output import new_console, save_then_show
from ppiscs_jax.cli.table import print_table, with_error
from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.files import output_problem, replacing
from ppiscs_jax.settings import LARGEST_SEED, Settings

if TYPE_CHECKING:  # scipy.optimize is slow to import
    from ppiscs_jax.inverse.config import FitConfig
    from ppiscs_jax.inverse.result import Fit

Config = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="TOML: [nominal] settings, [std] standard deviations, [bounds] if wanted.",
    ),
]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Save a figure: .png, .pdf or .svg.")
]

Files = list[tuple[Path, Callable[[], object]]]
"""Paths, and what writes each."""


def fit(
    measured: Annotated[
        Path,
        typer.Argument(
            metavar="MEASURED",
            help="PPISCS against thickness: a library of StatSTEM (.txt, .csv, .mat), or a curve "
            "saved by this program.",
        ),
    ],
    config: Config,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Save as .json.")] = None,
    plot: Plot = None,
) -> None:
    """Estimate the microscope's settings from a measured PPISCS–thickness curve.

    Prints, for each free parameter, its estimate, its standard error, and the parameter that it is
    most correlated with.
    """
    from ppiscs_jax.config import load_config  # pydantic is slow to import
    from ppiscs_jax.inverse.config import FitConfig
    from ppiscs_jax.inverse.fit import fit as fit_curve
    from ppiscs_jax.io.library import load_library, sidecar_of

    given = load_config(config, FitConfig)
    inputs = [measured, sidecar_of(measured), config]
    problems = _output_problems(out, ".json", plot, inputs)
    library = _tried(problems, lambda: load_library(measured))
    curve: Any = library and _tried(problems, lambda: given.measured(library))
    n_atoms = len(curve.ppiscs) if curve else 1
    forward, limits, precision = _forward(problems, given, n_atoms)
    problem = forward and _tried(problems, lambda: given.problem(limits))
    if problems:
        raise InputError(problems)

    options = {"method": given.method, "cost": given.cost, "precision": precision}
    with compiled_quickly() if given.simulator is None else nullcontext():
        result = fit_curve(forward, problem, curve, **options)
    files: Files = []
    if out:
        about = {"config": given.model_dump(), "measured": str(measured)}
        files.append((out, partial(result.save, out, **about)))
    if plot:
        files.append((plot, partial(result.plot, plot, title=_title(given.settings()))))
    save_then_show(files, lambda: _print_fit(result))


def uncertainty(
    config: Config,
    draws: Annotated[int, typer.Option(metavar="N", help="Random draws of the settings.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Of the draws.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Save as .csv.")] = None,
    plot: Plot = None,
) -> None:
    """Propagate measurement errors of the settings to PPISCS.

    Settings are drawn uniformly within ± [std] of the nominal values. The command prints the
    standard deviation of the resulting curves at each thickness. The configuration file is that of
    `ppiscs fit`; only [nominal], [std], gain, offset_angstrom2 and surrogate are used.
    """
    import jax

    from ppiscs_jax.config import load_config
    from ppiscs_jax.inverse.config import FitConfig
    from ppiscs_jax.inverse.uncertainty import prior_samples, propagate

    given = load_config(config, FitConfig)
    problems = _output_problems(out, ".csv", plot, [config])
    problems += [
        p
        for p in (
            range_problem("draws", draws, 2, 10**7, "", whole=True),
            range_problem("seed", seed, 0, LARGEST_SEED, "", whole=True),
        )
        if p
    ]
    forward, _, _ = _forward(problems, given, None)
    problem = forward and _tried(problems, given.half_widths)
    if problems:
        raise InputError(problems)
    nominal = _nominal(given, forward)
    samples = prior_samples(problem, jax.random.key(seed), draws)
    spread = propagate(forward, problem, samples)

    columns = (
        "n_atoms",
        "ppiscs_angstrom2",
        "mean_angstrom2",
        "std_angstrom2",
        "std_error_angstrom2",
    )
    rows = [
        (n, *map(float, values))
        for n, values in enumerate(zip(nominal, *spread, strict=True), 1)
        if np.isfinite(values[0])
    ]
    table = Table()
    heads = (
        "atoms per\ncolumn, n",
        "PPISCS [Å²]\nnominal",
        "mean [Å²]",
        "std ± s.e. [Å²]",
        "std [%]",
    )
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for n, value, mean, std, error in rows:
        percent = f"{100 * std / value:.2f}"
        table.add_row(str(n), f"{value:.5g}", f"{mean:.5g}", with_error(std, error), percent)
    title = _title(given.settings())
    files: Files = []
    if out:
        lines = [",".join(columns), *(",".join(f"{v:.9g}" for v in row) for row in rows)]
        files.append((out, partial(_write, out, "\n".join(lines))))
    if plot:
        from ppiscs_jax.plots.fits import plot_uncertainty

        files.append((plot, partial(plot_uncertainty, nominal, spread.std, plot, title=title)))

    def show() -> None:
        print_table(table, new_console())
        typer.echo(f"{title}; {draws} uniform draws, seed {seed}")

    save_then_show(files, show)


def _tried(problems: list[str], function: Callable[[], Any]) -> Any:
    """The result of a function, or None; its problems are collected, to be reported together."""
    try:
        return function()
    except InputError as error:
        problems += [p for p in error.problems if p not in problems]
        return None


def _forward(problems: list[str], given: "FitConfig", n_atoms: int | None) -> tuple:
    """The forward model, its trained range and its precision; or no model, and problems."""
    _tried(problems, given.settings)
    return _tried(problems, lambda: given.forward(n_atoms)) or (None, {}, "double")


def _nominal(given: "FitConfig", forward: Any) -> Any:
    """The curve at the nominal settings, with gain and offset."""
    curve = np.asarray(forward(given.settings().to_vector().astype(np.float32)), float)
    return given.gain * curve + given.offset_angstrom2


def _output_problems(
    out: Path | None, suffix: str, plot: Path | None, inputs: list[Path]
) -> list[str]:
    found = [output_problem(out, (suffix,), inputs)] if out else []
    if plot:
        from ppiscs_jax.plots.curves import SUFFIXES  # matplotlib is slow to import

        found.append(output_problem(plot, SUFFIXES, inputs))
    return [p for p in found if p]


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _print_fit(result: "Fit") -> None:
    """The identifiability table and the goodness of fit; warnings, to stderr."""
    table = Table()
    for head, side in (
        ("number", "left"), ("unit", "left"), ("nominal", "right"), ("estimate ± s.e.", "right"),
        ("prior\nwidth", "right"), ("verdict", "left"), ("most correlated with", "left"),
    ):  # fmt: skip
        table.add_column(head, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for p in result.parameters.values():
        table.add_row(
            p.name,
            p.unit,
            f"{p.nominal:.6g}",
            with_error(p.estimate, p.standard_error),
            f"{p.prior_width:.3g}",
            p.verdict,
            f"{p.partner} ({p.correlation:+.2f})" if p.partner else "",
        )
    print_table(table, new_console())
    rms = np.sqrt(np.nanmean(result.residuals**2))
    lines = [f"residuals: rms {rms:.3g} Å²; {result.evaluations} curves evaluated"]
    if result.explained is not None:
        lines.append(
            f"χ² = {result.chi_squared:.4g} with {result.dof} degrees of freedom, "
            f"p = {result.p_value:.2g}"
        )
    for line in lines:
        typer.echo(line)
    if result.explained is False:
        typer.echo("warning: the model does not explain the curve", err=True)
    if not result.success:
        typer.echo(f"warning: the fit did not converge: {result.message}", err=True)


def _title(s: Settings) -> str:
    return (
        f"{s.element} [{s.zone_axis}], {s.voltage_kv:g} kV, α {s.convergence_mrad:g} mrad, "
        f"{s.inner_mrad:g}–{s.outer_mrad:g} mrad, rmsd {s.rmsd_angstrom:.4g} Å"
    )
