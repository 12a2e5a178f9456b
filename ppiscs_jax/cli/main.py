"""The `ppiscs` command and how its errors are shown: one line on stderr."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import ppiscs_jax
from ppiscs_jax.cli import dataset, experiment
from ppiscs_jax.cli.compilation_cache import use_compilation_cache
from ppiscs_jax.cli.count import count
from ppiscs_jax.cli.design import DesignCommand, design
from ppiscs_jax.cli.doctor import doctor
from ppiscs_jax.cli.evaluate import evaluate
from ppiscs_jax.cli.explore import explore
from ppiscs_jax.cli.fit import fit, uncertainty
from ppiscs_jax.cli.generate import generate
from ppiscs_jax.cli.options import PairCommand
from ppiscs_jax.cli.output import lasting_streams
from ppiscs_jax.cli.predict import predict
from ppiscs_jax.cli.simulate import simulate
from ppiscs_jax.cli.train import train
from ppiscs_jax.errors import InputError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""

app = typer.Typer(
    help="ADF-STEM scattering cross-sections (PPISCS) of fcc crystals.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # what is in square brackets would be taken for markup
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=PairCommand)(predict)
app.command(cls=PairCommand)(simulate)
app.command(cls=DesignCommand)(design)
app.command()(explore)
app.command(cls=PairCommand)(count)
app.command()(generate)
app.command()(train)
app.command()(evaluate)
app.command()(fit)
app.command()(uncertainty)
app.command()(doctor)
app.add_typer(dataset.app, name="dataset", no_args_is_help=True)
app.add_typer(experiment.app, name="experiment", no_args_is_help=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ppiscs-jax {ppiscs_jax.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _common(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 output failed, 2 bad input, 130 interrupted."""
    use_compilation_cache()
    with lasting_streams() as stdout:
        code = _run(arguments)
        if problem := stdout.problem:
            code = _report(problem, code or 1)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        # The exit code of typer.Exit, or what the command returned, which is None.
        code = app(args=arguments, prog_name="ppiscs", standalone_mode=False) or 0
    except InputError as error:
        return _report(str(error), 2)
    except typer.TyperException as error:
        return _report(error.format_message(), error.exit_code)
    except (OSError, RuntimeError) as error:
        return _report(str(error), 1)
    except AssertionError:
        # JAX has no better word for a platform that is not there.
        if problem := _platform_problem():
            return _report(problem, 2)
        raise
    # Typer turns Ctrl-C into this exit code, without a word.
    return _report("interrupted", code) if code == INTERRUPTED else code


def _platform_problem() -> str | None:
    """Say why JAX cannot compute where it was told to, or None."""
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError):
        platforms = os.environ.get("JAX_PLATFORMS")
        return f"JAX_PLATFORMS = {platforms!r}: JAX finds no such device here; try cpu"
    return None


def _report(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code
