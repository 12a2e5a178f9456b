"""`ppiscs evaluate`: how far a surrogate is off fresh simulations."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from ppiscs_jax.cli.output import new_console
from ppiscs_jax.cli.table import print_table


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Name of a surrogate that comes with the package, or a file: .npz of one, or .mat "
            "of a network in the published format.",
        ),
    ],
    held_out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Held-out simulations, such as experiments/fresh_check/result/held_out.npz.",
        ),
    ],
) -> None:
    """Score a surrogate against simulations that it was not trained on.

    Score of a curve: 0.8 √(mean over n of error² − standard error², not below 0) / maximum, over
    the thicknesses that the surrogate covers.
    """
    from ppiscs_jax.surrogate.evaluate import WIDE_MRAD, load_held_out, score
    from ppiscs_jax.surrogate.predict import load_surrogate, predict

    given = load_held_out(held_out)
    surrogate = load_surrogate(model)
    predicted = predict(given.x, surrogate=surrogate)
    scores = score(predicted, given.ppiscs, given.standard_error)
    largest = np.nanmax(given.ppiscs, axis=-1)
    noise = np.nanmean(given.standard_error, axis=-1) / largest
    table = Table()
    for column in ("detectors", "curves", "mean", "median", "99th percentile", "largest",
                   "standard error of the check"):  # fmt: skip
        table.add_column(column, justify="right", no_wrap=True)
    wide = given.wide()
    for name, chosen in (
        (f"≥ {WIDE_MRAD:g} mrad wide", wide),
        ("narrower", ~wide),
    ):
        known = scores[chosen & np.isfinite(scores)]
        if not len(known):
            continue
        numbers = (
            known.mean(),
            *np.quantile(known, [0.5, 0.99]),
            known.max(),
            noise[chosen].mean(),
        )
        table.add_row(name, str(len(known)), *(f"{number:.2e}" for number in numbers))
    print_table(table, new_console())
    unknown = int(np.sum(~np.isfinite(scores)))
    if unknown:
        typer.echo(f"{unknown} curves lie outside of what the surrogate was made for")
    if predicted.shape[-1] < given.ppiscs.shape[-1]:
        typer.echo(
            f"compared up to {predicted.shape[-1]} atoms, the largest thickness of the surrogate"
        )
