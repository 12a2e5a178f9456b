"""`ppiscs dataset`: what is in files of kernels, whether they are whole, packing them."""

from math import isnan
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ppiscs_jax.cli.output import new_console
from ppiscs_jax.cli.table import print_table

app = typer.Typer(help="Inspect, verify and pack data sets of scattering kernels.")

FileOrFolder = Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER")]


@app.command()
def info(path: FileOrFolder) -> None:
    """Show what a file or folder holds, by element and zone axis."""
    from ppiscs_jax.campaign.inspect import contents

    table = Table()
    for heading in (
        "element", "zone axis", "kernels", "voltages (kV)", "rmsd (Å)", "atoms", "α (mrad)",
        "up to (mrad)", "waves", "largest noise",
    ):  # fmt: skip
        table.add_column(heading, no_wrap=True)
    groups = contents(path)
    for c in groups:
        table.add_row(
            c.element,
            c.zone_axis,
            str(c.kernels),
            _listed(c.voltages_kv),
            _listed(c.rmsd_angstrom),
            str(c.n_atoms),
            "–".join(f"{a:g}" for a in c.convergence_mrad),
            f"{c.outer_mrad:g}",
            "–".join(map(str, c.waves)),
            "–" if isnan(c.noise) else f"{c.noise:.2g}",
        )
    print_table(table, new_console())
    versions = sorted({v for c in groups for v in c.versions})
    made_by = "different versions of ppiscs-jax:" if len(versions) > 1 else "ppiscs-jax"
    typer.echo(f"made by {made_by} {', '.join(versions)}")
    typer.echo("noise: mean standard error over thickness / maximum, at 45–160 and 60–200 mrad")


@app.command()
def verify(path: FileOrFolder) -> None:
    """Check every checksum; exit with 1 if something is damaged or missing."""
    from ppiscs_jax.campaign import inspect

    whole, problems = inspect.verify(path)
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(f"{path}: {whole} kernels whole, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a campaign.")],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="FILE.h5, or a folder with one file per element and zone axis."
        ),
    ],
) -> None:
    """Pack the kernels of a campaign."""
    from ppiscs_jax.campaign import inspect

    written, unfinished = inspect.pack(folder, out)
    for path in written:
        typer.echo(f"wrote {path}")
    if unfinished:
        typer.echo(f"not finished, left out: {', '.join(unfinished)}", err=True)


@app.command()
def unpack(
    packed: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Packed kernels.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made if it is not there.")],
) -> None:
    """Undo pack, so that `generate --resume` goes on from packed files."""
    from ppiscs_jax.io.kernels import unpack_kernels

    written = [path for file in packed for path in unpack_kernels(file, folder)]
    typer.echo(f"{folder}: {len(written)} kernels written")


def _listed(values: tuple[float, ...]) -> str:
    """All values, or where they are many the ends and their number."""
    if len(values) <= 6:
        return ", ".join(f"{v:g}" for v in values)
    return f"{values[0]:g} to {values[-1]:g} ({len(values)})"
