"""`ppiscs generate`: work through a campaign."""

from pathlib import Path
from typing import Annotated

import typer

from ppiscs_jax.cli.output import new_console
from ppiscs_jax.cli.progress import show_progress


def generate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The campaign.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the kernels. Default: output/CONFIG."),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes on this machine, one task each.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A running dask scheduler, such as tcp://host:8786."),
    ] = None,
    slurm: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML: `jobs`, and `[cluster]` for SLURMCluster."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in a folder that holds this campaign.")
    ] = False,
) -> None:
    """Run all simulations of a campaign. An interrupted run can be resumed with --resume."""
    from ppiscs_jax.campaign import generate as campaigns
    from ppiscs_jax.campaign.cluster import Resources
    from ppiscs_jax.campaign.config import Campaign
    from ppiscs_jax.config import load_config

    campaign = load_config(config, Campaign)
    folder = out or Path("output") / config.stem
    with show_progress(new_console(stderr=True)) as progress:
        summary = campaigns.generate(
            campaign,
            folder,
            resources=Resources(workers, scheduler, slurm),
            resume=resume,
            progress=progress,
        )
    for damaged in summary.damaged:
        typer.echo(f"made again: {damaged}", err=True)
    for name in summary.noisy:
        typer.echo(f"warning: {name} is noisier than its limit: raise max_waves", err=True)
    typer.echo(
        f"{folder}: {summary.made} tasks made, {summary.finished_before} were finished before"
    )
