"""Kinds of surrogates compared: errors, additivity, what aberrations do, size and time.

The additive splines, plain interpolation of the data set's table, the DenseNet, and, where its
file is given, the published network. Writes comparison.csv, result.json and architectures.png.

    python -m experiments.architectures.run [--config FILE] [--out FOLDER]
"""

import sys
import time
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import (
    PUBLISHED,
    ROOT,
    main,
    provenance,
    published_file,
    save_csv,
    save_figure,
    save_json,
    show_rows,
    surrogates_of,
    tidy,
)
from ppiscs_jax import predict
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.config import Model
from ppiscs_jax.plots.curves import COLOURS
from ppiscs_jax.settings import DETECTOR, Column
from ppiscs_jax.surrogate.evaluate import evaluate, load_held_out
from ppiscs_jax.surrogate.network import NetworkModel
from ppiscs_jax.surrogate.predict import WEIGHTS, Surrogate
from ppiscs_jax.surrogate.ranges import TrainedRange
from ppiscs_jax.surrogate.sample import C10_ANGSTROM, C30_MM, sample_one_each, split_cells
from ppiscs_jax.surrogate.table import KernelTable, load_table

TABLE = "table"
ABERRATIONS = 8
"""Random values of C30 and C10 for each of the settings."""


class Config(Model):
    """What the config may say."""

    seed: int
    held_out: str
    kernels: str
    surrogates: Annotated[list[str], Field(min_length=1)]
    least_width_mrad: PositiveFloat
    settings: PositiveInt
    batch: PositiveInt
    rounds: PositiveInt


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TableModel:
    """The data set itself, interpolated by cubics, at the voltages that were simulated."""

    gathers: ClassVar[bool] = True

    table: KernelTable

    @jax.jit
    def curve(self, x: Float[Array, " 9"]) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms."""
        t, x = self.table, jnp.asarray(x)
        same = (t.atomic_numbers == x[Column.ELEMENT]) & (t.zone_codes == x[Column.ZONE_AXIS])
        group, voltage = jnp.argmax(same), jnp.argmin(jnp.abs(t.voltages_kv - x[Column.VOLTAGE_KV]))
        beyond = t.beyond_angles(
            group, voltage, x[Column.RMSD_ANGSTROM], x[Column.CONVERGENCE_MRAD], x[DETECTOR]
        )
        known = jnp.any(same) & (jnp.arange(beyond.shape[1]) < t.thickest[group])
        return jnp.where(known, beyond[0] - beyond[1], jnp.nan)

    @cached_property
    def trained_range(self) -> TrainedRange:
        """The nodes'."""
        t = self.table
        nodes = {
            "voltage_kv": t.voltages_kv,
            "convergence_mrad": t.ring_edges_mrad[1:],
            "inner_mrad": t.angles_mrad,
            "outer_mrad": t.angles_mrad,
            "rmsd_angstrom": jnp.sort(t.rmsd_angstrom, axis=None),
        }
        specimens = zip(t.atomic_numbers, t.zone_codes, strict=True)
        return TrainedRange(
            specimens=tuple((int(z), int(code)) for z, code in specimens),
            limits={name: (float(v[0]), float(v[-1])) for name, v in nodes.items()},
            rmsd_angstrom=tuple(map(tuple, np.asarray(t.rmsd_angstrom)[:, [0, -1]].tolist())),
        )


def halves(x: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Settings with each detector cut in two at a random angle."""
    low, high = x.copy(), x.copy()
    inner, outer = x[:, DETECTOR].T
    between = inner + random.uniform(0.1, 0.9, len(x)) * (outer - inner)
    low[:, Column.OUTER_MRAD] = high[:, Column.INNER_MRAD] = between
    return low, high


def known_to(model: Surrogate, *settings: np.ndarray) -> np.ndarray:
    """Which rows a model was made for, in all of the settings."""
    judged = [inside for x in settings for _, inside in model.trained_range.check(x)]
    return np.all(judged, axis=0)


def additivity(model: Surrogate, x: np.ndarray, parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """|both parts of a detector − the whole| over the maximum, largest over n, by settings."""
    whole, *both = (predict(rows, surrogate=model).astype(float) for rows in (x, *parts))
    return np.nanmax(np.abs(sum(both) - whole), axis=1) / np.nanmax(whole, axis=1)


def aberration_spread(model: Surrogate, x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Standard deviation over C30 and C10 by the mean, largest over n, by settings.

    Of a network's own output: `NetworkModel.curve` takes both as 0.
    """
    many = np.repeat(x[:, None], ABERRATIONS, axis=1)
    for index, most in ((3, C30_MM), (4, C10_ANGSTROM)):
        many[..., index] = random.uniform(-most, most, many.shape[:2])
    curves = predict(many, surrogate=model).astype(float)
    if isinstance(model, NetworkModel):
        own = model.network.apply({"params": model.params}, many.astype(np.float32))
        curves = np.where(np.isnan(curves), np.nan, np.asarray(own, float))
    departure = curves - curves[:, :1]
    return np.nanmax(departure.std(axis=1) / curves.mean(axis=1), axis=1)


def seconds(model: Surrogate, x: np.ndarray, rounds: int) -> float:
    """Of one call, the median."""
    predict(x, surrogate=model)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        predict(x, surrogate=model)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def megabytes(name: str, kernels: Path) -> float | None:
    """Size of the file, or files, that a surrogate is read from, where it is known by name."""
    found = {TABLE: kernel_files(kernels), PUBLISHED: [published_file()]}.get(name, [])
    if name in WEIGHTS:
        found = [files("ppiscs_jax.surrogate") / "weights" / WEIGHTS[name]]
    return sum(Path(str(path)).stat().st_size for path in found) / 1e6 if found else None


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Error against size and against time."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("megabytes", "microseconds_a_curve"),
        ("Size of the file (MB)", "Time of a curve among many (µs)"),
        strict=True,
    ):
        for row, colour in zip(rows, COLOURS, strict=False):
            if row[key] is None:
                continue
            at = {"color": colour, "label": row["surrogate"]}
            axes.plot(row[key], row["mean_score"], "o", **at)
            axes.plot(row[key], row["percentile_99"], "^", color=colour, fillstyle="none")
        axes.set_yscale("log")
        axes.set_xlim(0, 1.1 * max(row[key] or 0 for row in rows))
        axes.set_xlabel(label)
        tidy(axes)
    figure.axes[0].set_ylabel("Score: mean (●), 99th percentile (△)")
    figure.axes[1].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def run(config: Config, out: Path) -> None:
    """Compare, and show."""
    held_out, kernels = load_held_out(ROOT / config.held_out), ROOT / config.kernels
    table = load_table(kernel_files(kernels))
    cells, _ = split_cells(table, 0.0, config.seed)
    examples = sample_one_each(table, cells, jax.random.key(config.seed), config.settings)
    x = np.asarray(examples.x[:, 0], float)
    wide = held_out.wide(config.least_width_mrad)
    many = x[np.arange(config.batch) % len(x)]
    models = surrogates_of([name for name in config.surrogates if name != TABLE])
    if TABLE in config.surrogates:
        models[TABLE] = TableModel(table)
    random = np.random.default_rng(config.seed)
    low, high = halves(x, random)
    common = np.all([known_to(model, x, low, high) for model in models.values()], axis=0)
    rows = []
    for name, model in models.items():
        scores = evaluate(lambda v, model=model: predict(v, surrogate=model), held_out)
        known = scores[wide & np.isfinite(scores)]
        of_parts = additivity(model, x[common], (low[common], high[common]))
        spread = aberration_spread(model, x[common], np.random.default_rng(config.seed))
        rows.append(
            {
                "surrogate": name,
                "curves": len(known),
                "mean_score": float(known.mean()),
                "percentile_99": float(np.quantile(known, 0.99)),
                "additivity_mean": float(of_parts.mean()),
                "additivity_largest": float(of_parts.max()),
                "aberration_spread_mean": float(spread.mean()),
                "aberration_spread_largest": float(spread.max()),
                "megabytes": megabytes(name, kernels),
                "microseconds_alone": 1e6 * seconds(model, x[0], 10 * config.rounds),
                "microseconds_a_curve": 1e6 * seconds(model, many, config.rounds) / config.batch,
            }
        )
    show_rows(rows)
    save_csv(out / "comparison.csv", rows)
    content = {
        "config": config.model_dump(),
        "provenance": provenance(surrogates=config.surrogates),
        "rows": rows,
    }
    save_json(out / "result.json", content)
    save_figure(out / "architectures.png", draw(rows))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
