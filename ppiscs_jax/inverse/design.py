"""Design of experiments: the detector, aperture and voltage that count atoms best.

Paper §3.3 and Fig. 12: the best settings minimise the probability of miscounting, P_e.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float
from scipy.ndimage import minimum_filter
from scipy.optimize import OptimizeResult, minimize

from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.inverse.design_checks import (
    AT,
    MICROSCOPE,
    counting_problems,
    number_problems,
    vary_problems,
)
from ppiscs_jax.inverse.error_probability import error_probability, gaussian_log_error_probability
from ppiscs_jax.inverse.forward import Forward, as_data, curves
from ppiscs_jax.inverse.record import Record
from ppiscs_jax.settings import VECTOR_ORDER, Column, Settings, column

SETTLED = 1e-6
"""A descent ends when the relative decrease of log P_e is smaller: single precision resolves no
smaller one."""

MOST_POINTS = 200_000
"""Points of a coarse grid."""


@dataclass(frozen=True)
class Design(Record):
    """The best settings found, and how; every P_e is exact.

    Attributes:
        x: the nine numbers of the best settings, in the order of `Settings.to_vector`.
        error_probability: P_e there.
        grid_x, grid_error_probability: the best point of the coarse grid.
        starts, ends: where descents started and ended, shape (descents, 9).
        end_error_probabilities: P_e at these ends, shape (descents,); NaN where the forward
            model gave nothing.
        converged: which descents ended at a minimum, or at a side of the box, (descents,).
        evaluations: of the forward model's curve.
    """

    x: Float[np.ndarray, " 9"]
    error_probability: float
    grid_x: Float[np.ndarray, " 9"]
    grid_error_probability: float
    starts: Float[np.ndarray, "descents 9"]
    ends: Float[np.ndarray, "descents 9"]
    end_error_probabilities: Float[np.ndarray, " descents"]
    converged: Bool[np.ndarray, " descents"]
    evaluations: int

    @property
    def settings(self) -> Settings:
        """The best settings."""
        return Settings.from_vector(self.x)

    def rows(self) -> list[dict[str, Any]]:
        """The best settings, those of the grid, and the ends of descents, with their P_e."""
        points = [self.x, self.grid_x, *self.ends]
        names = ["best", "grid", *(f"descent {i}" for i in range(len(self.ends)))]
        errors = [self.error_probability, self.grid_error_probability]
        errors += self.end_error_probabilities.tolist()
        return [
            {"point": name, **dict(zip(VECTOR_ORDER, x, strict=True)), "error_probability": p}
            for name, x, p in zip(names, points, errors, strict=True)
        ]


def error_probability_map(
    forward: Forward,
    x: Any,
    axes: Mapping[str, Any],
    dose_per_angstrom2: float,
    n_atoms: tuple[int, int],
    *,
    priors: Any = None,
) -> Float[np.ndarray, "*shape"]:
    """Exact P_e over a grid of settings, such as a panel of Fig. 12; one call of the model.

    Args:
        forward: the forward model, as in `fit`.
        x: all other settings: `Settings`, or the nine numbers of `Settings.to_vector`.
        axes: values along each axis of the grid by name, any of `VECTOR_ORDER`, in its units;
            element and zone axis as coded there.
        dose_per_angstrom2: D [e⁻/Å²].
        n_atoms: fewest and most atoms that a column may have.
        priors: of these, as in `error_probability`.

    Returns:
        P_e in the order of `axes`; NaN where inner_mrad is not below outer_mrad, and where the
        forward model gives nothing.

    Raises:
        InputError: naming all bad values, before any work; or that there is nothing but NaN.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> axes = {"inner_mrad": [30.0, 50.0, 70.0], "outer_mrad": [100.0, 200.0]}
        >>> p_e = pp.error_probability_map(
        ...     pp.load_surrogate(), settings, axes, dose_per_angstrom2=1e4, n_atoms=(1, 20)
        ... )
        >>> p_e.shape
        (3, 2)
    """
    forward = as_data(forward)
    nominal, problems = _nominal(x)
    problems += counting_problems(forward, dose_per_angstrom2, n_atoms, priors)
    for name, values in axes.items():
        unknown = choice_problem("axes", name, VECTOR_ORDER)
        problems += [unknown] if unknown else number_problems(name, values, None, name)
    if problems:
        raise InputError(problems)
    grid = {name: np.asarray(values, float) for name, values in axes.items()}
    shape = tuple(map(len, grid.values()))
    rows = np.tile(nominal, (*shape, 1))
    for name, values in zip(grid, np.meshgrid(*grid.values(), indexing="ij"), strict=True):
        rows[..., column(name)] = values
    found = np.full(shape, np.nan)
    real = rows[..., Column.INNER_MRAD] < rows[..., Column.OUTER_MRAD]
    if np.any(real):
        found[real] = _error_probabilities(forward, rows[real], dose_per_angstrom2, n_atoms, priors)
    if np.all(np.isnan(found)):
        raise InputError(
            f"axes: the forward model gives no curve of {n_atoms[0]} to {n_atoms[1]} atoms at "
            "any point of the grid"
        )
    return found


def best_design(
    forward: Forward,
    x: Any,
    vary: Mapping[str, tuple[float, float]],
    dose_per_angstrom2: float,
    n_atoms: tuple[int, int],
    *,
    voltages_kv: Sequence[float] | None = None,
    least_width_mrad: float = 10.0,
    beyond_aperture_mrad: float | None = None,
    priors: Any = None,
    grid: int = 6,
    descents: int = 4,
) -> Design:
    """The settings that minimise P_e: never worse than the best point of a coarse grid.

    The grid fills what is allowed; from its lowest local minima bounded quasi-Newton descents
    (L-BFGS-B, of scipy) follow the exact gradient of `gaussian_log_error_probability`. All points
    and ends are compared by the exact P_e.

    Args:
        forward: the forward model, as in `fit`.
        x: nominal settings: `Settings`, or the nine numbers of `Settings.to_vector`. What
            varies is taken from its bounds.
        vary: lowest and highest value of what may be chosen, any of `MICROSCOPE`.
        dose_per_angstrom2, n_atoms, priors: as in `error_probability_map`.
        voltages_kv: instead of a range of voltages, those that the microscope has [kV].
        least_width_mrad: least width of the detector [mrad].
        beyond_aperture_mrad: how far inner_mrad must be above convergence_mrad, 0 or more
            [mrad]; None for anywhere.
        grid: points along each axis.
        descents: most descents, at each of `voltages_kv`.

    Raises:
        InputError: values are out of range, or the bounds exclude every detector; the message names
            every problem, before any work. Also if the forward model gives NaN at a point of the
            grid.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> vary = {"inner_mrad": (30.0, 100.0)}
        >>> best = pp.best_design(
        ...     pp.load_surrogate(), settings, vary, 1e4, n_atoms=(1, 10), grid=3, descents=1
        ... )
        >>> p_e = pp.error_probability(pp.predict(settings).ppiscs[:10], 1e4)
        >>> bool(best.error_probability < p_e)
        True
    """
    forward = as_data(forward)
    nominal, problems = _nominal(x)
    problems += counting_problems(forward, dose_per_angstrom2, n_atoms, priors)
    problems += vary_problems(vary, voltages_kv, least_width_mrad, beyond_aperture_mrad)
    numbers = {"grid": (grid, 2, 1000), "descents": (descents, 1, 1000)}
    checked = (range_problem(name, *of, "", whole=True) for name, of in numbers.items())
    problems += [p for p in checked if p]
    if problems:
        raise InputError(problems)
    low, high = np.array(
        [vary.get(n, (v, v)) for n, v in zip(MICROSCOPE, nominal[AT], strict=True)]
    ).T
    gap = -np.inf if beyond_aperture_mrad is None else beyond_aperture_mrad
    box = _Box(low, high, float(least_width_mrad), float(gap))
    boxes = [box] if voltages_kv is None else [box.at_voltage(v) for v in voltages_kv]
    axes = [np.linspace(0, 1, grid if name in vary else 1) for name in MICROSCOPE]
    shape = (len(boxes), *map(len, axes))
    problems = _room_problems(box)
    if (points := np.prod(shape)) > MOST_POINTS:
        problems.append(f"grid = {grid}: makes {points} points; must be {MOST_POINTS} or fewer")
    if problems:
        raise InputError(problems)

    errors_at = partial(
        _error_probabilities, forward, dose=dose_per_angstrom2, n_atoms=n_atoms, priors=priors
    )
    cube = np.array(list(product(*axes)))
    rows = np.concatenate([_rows(nominal, b, cube) for b in boxes])
    errors = errors_at(rows)
    if np.any(nothing := np.isnan(errors)):
        raise InputError(
            f"vary: the forward model does not give {n_atoms[0]} to {n_atoms[1]} atoms at "
            f"{nothing.sum()} of {points} points, one of them {rows[nothing][0].tolist()}"
        )
    weights = None if priors is None else np.asarray(priors, float)
    slope = partial(_slope, forward, tuple(n_atoms), nominal, dose_per_angstrom2, weights)
    starts, ends, found = [], [], []
    for b, values in zip(boxes, errors.reshape(shape), strict=True):
        for start in cube[_lowest(values)[:descents]]:
            found.append(_descend(partial(slope, b), start, [axis[-1] for axis in axes]))
            starts.append(_rows(nominal, b, start[None]))
            ends.append(_rows(nominal, b, found[-1].x[None]))
    errors_of_ends = errors_at(np.concatenate(ends))
    every, every_error = np.concatenate([rows, *ends]), np.concatenate([errors, errors_of_ends])
    best, of_grid = np.nanargmin(every_error), np.argmin(errors)
    return Design(
        x=every[best],
        error_probability=float(every_error[best]),
        grid_x=rows[of_grid],
        grid_error_probability=float(errors[of_grid]),
        starts=np.concatenate(starts),
        ends=np.concatenate(ends),
        end_error_probabilities=errors_of_ends,
        converged=np.array([bool(f.success) for f in found]),
        evaluations=len(every) + sum(int(f.nfev) for f in found),
    )


class _Box(NamedTuple):
    """Bounds of the design variables, (4,), and the least differences between angles."""

    low: Float[np.ndarray, " 4"]
    high: Float[np.ndarray, " 4"]
    least_width: float
    gap: float

    def at_voltage(self, voltage_kv: float) -> "_Box":
        return self._replace(
            low=np.append(voltage_kv, self.low[1:]), high=np.append(voltage_kv, self.high[1:])
        )


def _within(box: _Box, part: Float[Array, " 4"]) -> Float[Array, " 4"]:
    """Numbers of `MICROSCOPE` from a point of the unit cube, which this maps onto all allowed.

    Aperture, inner and outer angle are chosen in turn, each so that the next has some room.
    """
    most_inner = jnp.minimum(box.high[2], box.high[3] - box.least_width)
    most_aperture = jnp.minimum(box.high[1], most_inner - box.gap)
    voltage = box.low[0] + part[0] * (box.high[0] - box.low[0])
    aperture = box.low[1] + part[1] * (most_aperture - box.low[1])
    least = jnp.maximum(box.low[2], aperture + box.gap)
    inner = least + part[2] * (most_inner - least)
    least = jnp.maximum(box.low[3], inner + box.least_width)
    outer = least + part[3] * (box.high[3] - least)
    return jnp.stack([voltage, aperture, inner, outer])


def _rows(nominal: np.ndarray, box: _Box, parts: np.ndarray) -> Float[np.ndarray, "points 9"]:
    """Settings at points of the unit cube."""
    rows = np.tile(nominal, (len(parts), 1))
    numbers = jax.vmap(partial(_within, box))(jnp.asarray(parts))
    # Single precision rounds out of the bounds.
    rows[:, AT] = np.clip(np.asarray(numbers, float), box.low, box.high)
    return rows


@partial(jax.jit, static_argnums=1)
def _slope(
    forward: Partial,
    n_atoms: tuple[int, int],
    nominal: np.ndarray,
    dose: Any,
    priors: Any,
    box: _Box,
    part: Array,
) -> Any:
    """Log P_e in the Gaussian form, and its gradient in the unit cube."""

    def log_p(part: Array) -> Any:
        curve = forward(jnp.asarray(nominal).at[AT].set(_within(box, part)))
        return gaussian_log_error_probability(curve[n_atoms[0] - 1 : n_atoms[1]], dose, priors)

    return jax.value_and_grad(log_p)(part)


def _descend(slope: Callable[..., Any], start: np.ndarray, most: list[float]) -> OptimizeResult:
    """The nearest minimum in the part of the unit cube up to `most`."""

    def value_and_gradient(part: Array) -> tuple[float, np.ndarray]:
        value, gradient = slope(part)
        return float(value), np.asarray(gradient, float)

    return minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, end) for end in most],
        options={"ftol": SETTLED},
    )


def _lowest(values: np.ndarray) -> np.ndarray:
    """Flat indices of a grid's local minima, lowest first."""
    minima = np.flatnonzero(values == minimum_filter(values, size=3, mode="nearest"))
    return minima[np.argsort(values.ravel()[minima])]


def _error_probabilities(
    forward: Partial, rows: np.ndarray, dose: Any, n_atoms: tuple[int, int], priors: Any
) -> np.ndarray:
    """Exact P_e of settings, NaN where the forward model gives nothing."""
    values = np.asarray(curves(forward, rows), float)[:, n_atoms[0] - 1 : n_atoms[1]]
    there = np.all(np.isfinite(values), axis=1)
    errors = np.full(len(rows), np.nan)
    if np.any(there):
        errors[there] = error_probability(values[there], dose, priors)
    return errors


def _nominal(x: Any) -> tuple[np.ndarray, list[str]]:
    """The nine numbers of settings, and what is wrong with them."""
    try:
        return (x if isinstance(x, Settings) else Settings.from_vector(x)).to_vector(), []
    except InputError as error:
        return np.full(len(VECTOR_ORDER), np.nan), error.problems


def _room_problems(box: _Box) -> list[str]:
    """Bounds that exclude every detector."""
    _, aperture, inner, _ = box.low
    most = min(box.high[2], box.high[3] - box.least_width)
    if inner > most:
        return [
            f"inner_mrad from {inner:g} mrad, outer_mrad up to {box.high[3]:g} mrad: no room for "
            f"least_width_mrad = {box.least_width:g} mrad"
        ]
    if aperture + box.gap > most:
        return [
            f"convergence_mrad from {aperture:g} mrad, inner_mrad up to {most:g} mrad: no room "
            f"for beyond_aperture_mrad = {box.gap:g} mrad"
        ]
    return []
