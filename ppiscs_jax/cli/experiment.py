"""`ppiscs experiment list` and `run`: the experiments of the repository."""

import ast
import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ppiscs_jax.cli.output import new_console
from ppiscs_jax.cli.table import print_table
from ppiscs_jax.errors import InputError, choice_problem

app = typer.Typer(help="List and run the experiments of the repository.")

Folder = Annotated[
    Path,
    typer.Option(metavar="FOLDER", help="Where the experiments are: in a clone, experiments."),
]
HERE = Path("experiments")


@app.command("list")
def list_experiments(folder: Folder = HERE) -> None:
    """Names of the experiments and what each is."""
    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_column("what it is", no_wrap=True)
    for name, path in _experiments(folder).items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        table.add_row(name, docstring.split("\n", 1)[0])
    print_table(table, new_console())


@app.command("run")
def run_experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `ppiscs experiment list`.")],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file. Default: the experiment's own.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="For config, numbers and figure. Default: output/experiments/NAME.",
        ),
    ] = None,
    folder: Folder = HERE,
) -> None:
    """Run an experiment; its resolved config, seeds, numbers and figure go into one folder."""
    experiments = _experiments(folder)
    if problem := choice_problem("name", name, experiments):
        raise InputError(problem)
    out = out or Path("output") / "experiments" / name
    arguments = ["--out", str(out), *(["--config", str(config)] if config else [])]
    sys.path.insert(0, str(folder.absolute().parent))
    module = importlib.import_module(f"{folder.name}.{name.replace('/', '.')}.run")
    if code := module.command(arguments):
        raise typer.Exit(code)
    typer.echo(f"results in {out}", err=True)


def _experiments(folder: Path) -> dict[str, Path]:
    """Runners by the names of their folders."""
    found = {str(path.parent.relative_to(folder)): path for path in sorted(folder.rglob("run.py"))}
    if not found:
        raise InputError(f"folder {folder}: holds no experiments; they are in a clone's root")
    return found
