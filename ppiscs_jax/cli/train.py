"""`ppiscs train`: train a network as a config says."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from ppiscs_jax.cli.output import new_console
from ppiscs_jax.cli.progress import show_progress


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The recipe.")],
    data: Annotated[
        list[Path],
        typer.Option(metavar="FILE_OR_FOLDER", help="Kernels. May be repeated."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For checkpoints and metrics. Default: output/CONFIG."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="A network whose weights the training starts from. Default: random weights.",
        ),
    ] = None,
) -> None:
    """Train the densely connected network on a data set; goes on where it was stopped."""
    from ppiscs_jax.campaign.inspect import kernel_files
    from ppiscs_jax.config import load_config
    from ppiscs_jax.errors import InputError
    from ppiscs_jax.surrogate.network import NetworkModel, Training, save_network
    from ppiscs_jax.surrogate.predict import load_surrogate
    from ppiscs_jax.surrogate.published import save_published
    from ppiscs_jax.surrogate.recipe import Recipe
    from ppiscs_jax.surrogate.table import load_table
    from ppiscs_jax.surrogate.train import train as train_network

    recipe = load_config(config, Recipe)
    folder = out or Path("output") / config.stem
    before = None
    if start is not None:
        model = load_surrogate(start)
        if not isinstance(model, NetworkModel):
            raise InputError(f"start = {start!r}: must be a network")
        before = model.params
    table = load_table(file for path in data for file in kernel_files(path))
    with show_progress(new_console(stderr=True)) as progress:
        params = train_network(recipe, table, folder, start=before, progress=progress)
    network = recipe.network.network(table.beyond.shape[-1])
    if network.as_published:
        about = {
            "recipe": recipe.model_dump(mode="json"),
            "start": start,
            "versions": {p: version(p) for p in ("ppiscs-jax", "jax", "flax")},
        }
        save_published(folder / "model.mat", network, params)
        training = Training.on(table)
        save_network(folder / "model.npz", network, params, training, json.dumps(about))
        typer.echo(f"wrote {folder / 'model.mat'} and {folder / 'model.npz'}")
