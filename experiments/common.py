"""What the experiments share: config files, results saved whole, provenance."""

import argparse
import csv
import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import jax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field
from rich.console import Console
from rich.table import Table

from ppiscs_jax.cli.output import lasting_streams, new_console
from ppiscs_jax.config import AnyModel, Model, load_config
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import replacing
from ppiscs_jax.plots import curves
from ppiscs_jax.surrogate.predict import WEIGHTS, Surrogate, load_surrogate

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("ppiscs-jax", "jax", "jaxlib", "numpy", "scipy")

Annulus = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]
"""Inner and outer angle of a detector [mrad]."""


def provenance(*further_packages: str, surrogates: Iterable[str] = ()) -> dict[str, Any]:
    """Versions of what made a result, and the commit if there is one.

    Of shipped surrogates the checksum of their weights, so that a test can tell whether a committed
    result is of the weights of today.
    """
    versions = {"python": platform.python_version()}
    for package in (*PACKAGES, *further_packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "ppiscs_jax")
    return {
        "versions": versions,
        "backend": jax.default_backend(),
        "commit": commit,
        "package_changed_since_commit": None if changed is None else bool(changed),
        "weights_sha256": {
            name: checksum_of_weights(name) for name in surrogates if name in WEIGHTS
        },
    }


def checksum_of_weights(name: str) -> str:
    """SHA-256 of a shipped surrogate's file."""
    file = ROOT / "ppiscs_jax" / "surrogate" / "weights" / WEIGHTS[name]
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _git(*arguments: str) -> str | None:
    """What git answers, or None without git or outside a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def save_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same keys as CSV, whole or not at all; numbers to 6 digits."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure, whole or not at all."""
    curves.save_figure(figure, path, dpi=200)


def wide_console() -> Console:
    """For tables: as wide as they need where the output is a file."""
    console = new_console()
    if not console.is_terminal:
        console.width = 160
    return console


PUBLISHED = "published"
"""Name of the published network in configs, whose file comes with the package rt_ppiscs."""


def published_file() -> Path | None:
    """The published network, where rt_ppiscs is installed."""
    package = find_spec("rt_ppiscs")
    folders = package.submodule_search_locations if package else None
    return Path(folders[0]) / "coef_scs_fcc.mat" if folders else None


def surrogate_of(name: str) -> Surrogate:
    """A surrogate by name or file.

    Raises:
        InputError, FileNotFoundError: there is none, or the published network is not installed.
    """
    if name != PUBLISHED:
        return load_surrogate(name)
    if not (path := published_file()):
        raise InputError(f"surrogate = {PUBLISHED!r}: needs the package rt_ppiscs")
    return load_surrogate(str(path))


def surrogates_of(names: Sequence[str]) -> dict[str, Surrogate]:
    """Surrogates by name or file; the published network only where it is installed."""
    files = {name: name for name in names}
    if PUBLISHED in files:
        if path := published_file():
            files[PUBLISHED] = str(path)
        else:
            print(f"{PUBLISHED}: left out, rt_ppiscs is not installed", file=sys.stderr)
            del files[PUBLISHED]
    return {Path(name).stem: load_surrogate(file) for name, file in files.items()}


def show_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows with the same keys as a table; numbers to 4 digits."""
    table = Table(*(column.replace("_", " ") for column in rows[0]))
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    wide_console().print(table)


def save_cases(
    config: Model,
    parts: Iterable[Sequence[dict[str, Any]]],
    draw: Callable[[Sequence[dict[str, Any]]], Figure],
    figure: Path,
) -> None:
    """Print rows case by case as they are made, and save them beside their figure.

    table.csv has all rows so far after each case; result.json and the figure are written last.
    """
    rows: list[dict[str, Any]] = []
    for part in parts:
        show_rows(part)
        rows += part
        save_csv(figure.with_name("table.csv"), rows)
    content = {"config": config.model_dump(), "provenance": provenance(), "rows": rows}
    save_json(figure.with_name("result.json"), content)
    save_figure(figure, draw(rows))


def tidy(axes: Axes) -> None:
    """The look of every figure here."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(direction="in", which="both")


def main(
    documentation: str | None,
    folder: Path,
    model: type[AnyModel],
    run: Callable[[AnyModel, Path], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Command line of an experiment: 0 if it ran, 2 with a line a problem if it could not.

    Its `documentation` begins with a line that describes it.
    """
    parser = argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, default=folder / "config.toml", help="TOML file")
    parser.add_argument("--out", type=Path, default=folder / "result", help="folder for results")
    if "surrogate" in model.model_fields:
        parser.add_argument("--surrogate", help="name or file, instead of the config's")
    given = parser.parse_args(arguments)
    try:
        config = load_config(given.config, model)
        if surrogate := vars(given).get("surrogate"):
            config = config.model_copy(update={"surrogate": surrogate})
        given.out.mkdir(parents=True, exist_ok=True)
        with lasting_streams():
            run(config, given.out)
    except InputError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    return 0
