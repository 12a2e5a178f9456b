"""Evaluate surrogates against held-out simulations."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, save_npz
from ppiscs_jax.io.npz import reading_npz
from ppiscs_jax.io.schema import Numbers, Schema, must_fit
from ppiscs_jax.settings import MOST_ATOMS, RANGES, VECTOR_ORDER, Column, column

FORMAT = "ppiscs-jax checks 1"

LARGEST_ANGSTROM2 = 1e3
"""Larger than any projected area of a column, which no cross-section exceeds."""

ARRAYS = Schema(
    {
        "x": Numbers(("simulations", "detectors", "9"), low=-1e6, high=1e6),
        "ppiscs": Numbers(
            ("simulations", "detectors", "n"),
            "Å²",
            -LARGEST_ANGSTROM2,
            LARGEST_ANGSTROM2,
            gaps=True,
        ),
        "standard_error": Numbers(
            ("simulations", "detectors", "n"), "Å²", 0, LARGEST_ANGSTROM2, gaps=True
        ),
    },
    longest={"simulations": 10_000, "detectors": 1000, "n": MOST_ATOMS},
    most=16_000_000,
)
"""The arrays of a file: sixteen times those of the largest one here."""

MEAN_OVER_RMS = 0.8
"""Mean size of an error over its root mean square, for normally distributed errors."""

WIDE_MRAD = 20.0
"""Detectors at least so wide are scored apart from narrower ones."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out set: simulated curves, several detectors of each simulation.

    Attributes:
        x: settings in the order and units of `Settings.to_vector`.
        ppiscs: curves [Å²], NaN beyond the largest thickness.
        standard_error: of ppiscs [Å²].
        about: how they were made, as text.
    """

    x: Float[np.ndarray, "simulations detectors 9"]
    ppiscs: Float[np.ndarray, "simulations detectors n"]
    standard_error: Float[np.ndarray, "simulations detectors n"]
    about: str = ""

    def wide(self, least_mrad: float = WIDE_MRAD) -> np.ndarray:
        """Which detectors are at least so wide, (simulations, detectors)."""
        return self.x[..., Column.OUTER_MRAD] - self.x[..., Column.INNER_MRAD] >= least_mrad


def score(
    predicted: Float[np.ndarray, "*curves m"],
    ppiscs: Float[np.ndarray, "*curves n"],
    standard_error: Float[np.ndarray, "*curves n"],
) -> Float[np.ndarray, "*curves"]:
    """An estimate of each curve's L1n without the noise of the simulations it is compared with.

    0.8 √(mean over n of error² − standard error², not below 0) / max PPISCS, over the thicknesses
    that were predicted; NaN where none was. Predictions may end at another thickness than ppiscs.
    """
    shared = min(predicted.shape[-1], ppiscs.shape[-1])
    predicted, ppiscs, standard_error = (
        curves[..., :shared] for curves in (predicted, ppiscs, standard_error)
    )
    squares = (predicted - ppiscs) ** 2 - standard_error**2
    known = np.isfinite(squares)
    count = np.where(np.any(known, axis=-1), np.sum(known, axis=-1), np.nan)
    excess = np.sum(squares, axis=-1, where=known) / count
    largest = np.max(ppiscs, axis=-1, where=known, initial=0.0)
    return MEAN_OVER_RMS * np.sqrt(np.maximum(excess, 0)) / np.where(largest > 0, largest, np.nan)


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray], held_out: HeldOut
) -> Float[np.ndarray, "simulations detectors"]:
    """Scores of a surrogate; `predict` takes (…, 9) and gives (…, n), as `ppiscs_jax.predict`."""
    predicted = np.asarray(predict(held_out.x), dtype=float)
    return score(predicted, held_out.ppiscs, held_out.standard_error)


def save_held_out(path: str | Path, held_out: HeldOut) -> None:
    """Write a held-out set to a .npz file, whole or not at all.

    Raises:
        InputError: the path cannot be written.
    """
    if problem := output_problem(path, (".npz",)):
        raise InputError(problem)
    arrays: dict[str, np.ndarray] = {
        "x": held_out.x.astype(np.float64),
        "ppiscs": held_out.ppiscs.astype(np.float32),
        "standard_error": held_out.standard_error.astype(np.float16),
    }
    must_fit(ARRAYS, arrays, "held-out set")
    save_npz(
        path,
        format=np.array(FORMAT),
        about=np.array(held_out.about),
        units=np.array(f"x: {', '.join(VECTOR_ORDER)}; ppiscs, standard_error: Å²"),
        **arrays,
    )


def load_held_out(path: str | Path) -> HeldOut:
    """The held-out set of a file of `save_held_out`.

    Raises:
        InputError: the file holds no held-out set, or is damaged.
        FileNotFoundError: there is no such file.
    """
    with reading_npz(path, FORMAT, "held-out set") as arrays:
        numbers = {name: array.astype(float) for name, array in arrays.read(ARRAYS).items()}
        if problem := _settings_problem(numbers["x"]):
            raise ValueError(problem)
        return HeldOut(**numbers, about=arrays.text("about"))


def _settings_problem(x: np.ndarray) -> str | None:
    """Say which of the nine numbers (…, 9) are not settings, or None."""
    for field, (low, high, unit) in RANGES.items():
        values = x[..., column(field)]
        if np.any((values < low) | (values > high)):
            return f"x: {field} must be {low:g} to {high:g} {unit}"
    known = [e.atomic_number for e in ELEMENTS.values()], [z.code for z in ZONE_AXES.values()]
    if not all(np.isin(x[..., i], those).all() for i, those in enumerate(known)):
        return "x: unknown element or zone_axis"
    reversed_angles = x[..., Column.INNER_MRAD] >= x[..., Column.OUTER_MRAD]
    return "x: inner_mrad must be below outer_mrad" if np.any(reversed_angles) else None
