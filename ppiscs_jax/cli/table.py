"""Curves as a table for people."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ppiscs_jax.interop.cross_check import CrossCheck
from ppiscs_jax.simulation.curve import Curve

ROUNDING = 1e-15
"""Errors below this part of a value are less than the rounding of its digits."""


def with_error(value: float, error: float) -> str:
    """`value ± error`, both to the decimal that leaves the error two significant digits."""
    if not (math.isfinite(value) and math.isfinite(error) and error > ROUNDING * abs(value)):
        return f"{value:.6g} ± {error:.2g}"
    # Format first: 0.0996 becomes 1.0e-01, not three digits at the old exponent.
    exponent = int(f"{error:.1e}".split("e")[1])
    decimals = max(0, 1 - exponent)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def print_table(table: Table, console: Console) -> None:
    """Print a table whole: a narrow terminal, or none, must not cost digits."""
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table, crop=False)


def print_curves(curves: Sequence[Curve], console: Console, checks: Sequence[Curve] = ()) -> None:
    """Print n and, per detector, PPISCS ± standard error [Å²], then how they were made.

    Checks are the same curves made in another way, with columns of their own.
    """
    table = Table()
    table.add_column("atoms per\ncolumn, n", justify="right", no_wrap=True)
    for curve in (*curves, *checks):
        head = f"{curve.detector}\nPPISCS ± s.e. [Å²]"
        head += "" if not checks else "\nsimulated" if curve.model is None else "\npredicted"
        table.add_column(head, justify="right", no_wrap=True)
    for i, n in enumerate(curves[0].n_atoms):
        values = (with_error(c.ppiscs[i], c.standard_error[i]) for c in (*curves, *checks))
        table.add_row(str(n), *values)
    print_table(table, console)
    for line in (*_caption(curves[0]), *(c.made_by for c in checks[:1])):
        console.print(line, soft_wrap=True)


def print_cross_check(check: CrossCheck, console: Console) -> None:
    """Print what both programs scatter into every bin and detector, and the ratio."""
    table = Table()
    for head in (
        "collection angle\n[mrad]",
        "ppiscs-jax\n[fraction]",
        "abTEM\n[fraction]",
        "ratio",
    ):
        table.add_column(head, justify="right", no_wrap=True)
    for number, row in enumerate(check.rows()):
        if number == len(check.fractions):
            table.add_section()
        table.add_row(
            f"{row['inner_mrad']:.4g}–{row['outer_mrad']:.4g}",
            f"{row['fraction']:.5g}",
            f"{row['abtem_fraction']:.5g}",
            f"{row['ratio']:.4f}",
        )
    print_table(table, console)
    for line in (
        f"same displaced atoms and tilts in both: {check.n_atoms} atoms per column, "
        f"{check.waves} plane waves, seed {check.seed}",
        f"abTEM {check.abtem_version}, pixels of {max(check.sampling_angstrom):.2g} Å: what they "
        "cost at high angles falls with about their square",
    ):
        console.print(line, soft_wrap=True)


def _caption(curve: Curve) -> tuple[str, str]:
    s = curve.settings
    x, y = s.mistilt_mrad
    mistilt = f", mistilt ({x:g}, {y:g}) mrad" if x or y else ""
    return (
        f"{s.element} [{s.zone_axis}], {s.voltage_kv:g} kV, α {s.convergence_mrad:g} mrad, "
        f"rmsd {s.rmsd_angstrom:.4g} Å, C30 {s.c30_mm:g} mm, C10 {s.c10_angstrom:g} Å{mistilt}",
        f"{curve.made_by}; s.e.: one standard error",
    )
