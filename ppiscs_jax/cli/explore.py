"""`ppiscs explore`: the surrogate as an interactive page in the browser."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from ppiscs_jax.cli.output import new_console
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem


def explore(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page, an .html file.")] = Path(
        "ppiscs-explorer.html"
    ),
    zones: Annotated[
        str | None,
        typer.Option(
            metavar="UVW,UVW,...", help="Zone axes to keep, for a smaller page. Default: all."
        ),
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Round the weights: the page is a third as large, and states the error.",
        ),
    ] = False,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Write a page that predicts curves in the browser while settings are changed.

    The page is one file. It needs no server, no installation and no network, so that it can be
    sent to others.
    """
    from ppiscs_jax.explorer.page import SUFFIXES, write_page  # the surrogate is slow to import

    if problem := output_problem(out, SUFFIXES):
        raise InputError(problem)
    new_console(stderr=True).print("putting the page together, which takes some seconds")
    write_page(out, zones.split(",") if zones else None, compact)
    size = out.stat().st_size / 1e6
    typer.echo(f"wrote {out}, {size:.1f} MB", err=True)
    if open_page and not webbrowser.open(out.resolve().as_uri()):
        typer.echo(f"no browser was found; open {out.resolve()} in one", err=True)
