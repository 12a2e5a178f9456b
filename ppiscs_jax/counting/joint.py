"""The joint posterior of all numbers of atoms, the scale of the intensity and the microscope.

Cross-section i is gain × (V_n(θ) + Σ z_k m_kn) + offset for a column of n atoms, with settings θ,
the surrogate's error modes m, and a variance of its standard error squared plus a scatter in parts
of itself. A mistilt τ, if it is uncertain, multiplies V_n and its errors by exp(−l_n τ²); its prior
is that of the length of a vector of two normally distributed components. The numbers of atoms are
distributed between 0 and a maximum, whose prior is uniform. Without the maximum, the posterior
would favour small gains, which place more numbers of atoms near each value. The logarithm of the
distribution is a random walk: a uniform distribution would favour settings whose simulated values
lie densest where most of the measured ones are. The numbers of atoms and their maximum are summed
over exactly; the few shared parameters have Gaussian priors. The posterior has a local maximum for
each false scale. The local maxima are searched from starting points along the direction in which
the scale varies most, and weighted by Laplace's approximation of their evidence.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its submodules load when first used
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ppiscs_jax.counting.counts import Counts, Solution, combined, with_nothing
from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.inverse.forward import Forward, as_data
from ppiscs_jax.inverse.problem import GAIN, NUMBERS, OFFSET, Problem
from ppiscs_jax.settings import LARGEST_SEED

SCATTER, SCATTER_FACTOR = 0.01, 2.0
"""Median of the prior of the scatter, in parts of a cross-section, and by which factor it is
uncertain: displacements that one image has, and what neighbours exchange."""

WALK, MOST_TERMS = 1.0, 20
"""Standard deviation of the random walk's step from one number of atoms to the next, and how many
terms of its cosine series are kept at most."""

STEP_ATOMS = 0.3
"""Starts are so close that the thickest column changes by this part of an atom between them."""

REACH = 3.0
"""Starts are within so many standard deviations of the prior."""

MOST_STARTS = 150

MOST_SEARCHED = 400
"""Columns with which maxima are first searched."""

SEARCHED_WITHIN = 20.0
"""Maxima of these whose log posterior is so much lower than the highest are not followed."""

SAME = 0.05
"""Maxima nearer than this, in standard deviations of the prior, are one."""

LEAST_PROBABILITY = 1e-4
"""Maxima of less evidence are left out."""

GRADIENT = 1e-3
"""Largest slope at a maximum, per standard deviation of the prior."""

DIFFERENCE = 1e-4
"""Step of differences of gradients, in standard deviations of the prior."""

LEAST_SUM = 1e-300
"""Added to sums of densities, so that they have logarithms."""

DRAWS = 64
"""Draws around each maximum over which probabilities are averaged."""


def count_jointly(
    values: Float[np.ndarray, " N"],
    standard_error: Float[np.ndarray, " N"],
    forward: Forward,
    problem: Problem,
    *,
    error_modes: Float[np.ndarray, "modes n"] | None = None,
    mistilt_loss: Float[np.ndarray, " n"] | None = None,
    mistilt_std_mrad: float = 0.0,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Counts:
    """Count atoms and estimate what is uncertain of the microscope, together.

    Args:
        values: cross-sections [Å²].
        standard_error: of the values [Å²]; NaN counts as 0, and the scatter takes its place.
        forward: settings to curve, as of fits.
        problem: which numbers are uncertain, gain and offset among them, and their priors; those
            with bounds alone get the variance of a uniform distribution between them.
        error_modes: of the forward model's curve [Å²], as `AdditiveModel.error_modes` has them.
        mistilt_loss: l_n [mrad⁻²], as `counting.mistilt` gives it; default: no mistilt.
        mistilt_std_mrad: standard deviation of each component of the mistilt [mrad].
        seed: of the draws over which probabilities are averaged.
        progress: called with the finished fraction.

    Returns:
        Counts, with a solution for each maximum, its probability, and the estimates of the
        uncertain numbers there.

    Raises:
        InputError: no uncertain numbers; settings outside the range of the forward model.
    """
    if bad := range_problem("seed", seed, 0, LARGEST_SEED, "", whole=True):
        raise InputError(bad)
    model = as_data(forward)
    nominal = np.asarray(model(jnp.asarray(problem.x, jnp.float32)), float)
    n_atoms, means = with_nothing(problem.gain * nominal + problem.offset_angstrom2)
    thickest = thickest_of(means, values)
    kept = len(n_atoms) - 1
    with jax.enable_x64(True):
        modes = np.zeros((0, kept)) if error_modes is None else np.asarray(error_modes)[:, :kept]
        loss = np.zeros(0) if mistilt_loss is None else np.asarray(mistilt_loss)[:kept]
        low, high = problem.bounds
        data = {
            "values": values,
            "variance": np.nan_to_num(standard_error, nan=0.0) ** 2 + (1e-6 * values.max()) ** 2,
            "numbers": problem.numbers,
            "width": _widths(problem),
            "low": low,
            "high": high,
            "modes": modes,
            "walk": _walk(kept + 1, thickest),
            "loss": loss * mistilt_std_mrad**2,
            "mistilt_std": mistilt_std_mrad,
        }
        data = {name: jnp.asarray(value, float) for name, value in data.items()}
        data["free"] = jnp.asarray([NUMBERS.index(name) for name in problem.names], int)
        maxima = _maxima(model, data, thickest, progress)
        return _weighed(model, data, problem, n_atoms, maxima, seed)


def _widths(problem: Problem) -> Float[np.ndarray, " free"]:
    """Standard deviations of the priors."""
    low, high = problem.bounds
    given = problem.prior_precision
    return np.where(given > 0, 1 / np.maximum(given, 1e-300), (high - low) / np.sqrt(12))


def thickest_of(means: Float[np.ndarray, " n"], values: Float[np.ndarray, " N"]) -> int:
    """About how many atoms the thickest column has; means are those of 0, 1, … atoms."""
    return int(np.clip(np.abs(means - np.quantile(values, 0.98)).argmin(), 1, None))


def _walk(size: int, thickest: int) -> Float[np.ndarray, "terms n"]:
    """Karhunen–Loève terms of a random walk over 0, 1, … atoms, constant beyond the thickest."""
    length = thickest + 2
    along = np.minimum(np.arange(size) / length, 1)
    order = np.arange(1, min(length, MOST_TERMS) + 1)[:, None]
    return WALK * np.sqrt(2 * length) * np.cos(np.pi * order * along) / (np.pi * order)


def _curve(model: Partial, data: dict[str, Array], u: Array) -> tuple[Array, Array, Array]:
    """Cross-sections [Å²] of 0, 1, … atoms, the relative scatter, and the walk."""
    free, (modes, kept) = len(data["free"]), data["modes"].shape
    nominal = data["numbers"][data["free"]]
    own = jnp.clip(nominal + data["width"] * u[:free], data["low"], data["high"])
    numbers = data["numbers"].at[data["free"]].set(own)
    curve = model(numbers[:9])[:kept] + u[free : free + modes] @ data["modes"]
    if len(data["loss"]):
        curve *= jnp.exp(-data["loss"] * _squared_length(u[-2]))
    means = numbers[GAIN] * jnp.append(0.0, curve) + numbers[OFFSET]
    walk = u[free + modes : free + modes + len(data["walk"])] @ data["walk"]
    return means, SCATTER * SCATTER_FACTOR ** u[-1], walk


def _squared_length(u: Array) -> Array:
    """χ² of two degrees of freedom at the same quantile as u of a standard normal distribution."""
    return -2 * jax.scipy.stats.norm.logcdf(-u)


def _size(data: dict[str, Array]) -> int:
    """Number of parameters: settings, error modes, walk, mistilt if it is uncertain, scatter."""
    given = sum(len(data[name]) for name in ("free", "modes", "walk"))
    return given + (len(data["loss"]) > 0) + 1


def _logs(
    data: dict[str, Array], means: Array, scatter: Array, walk: Array
) -> tuple[Array, Array, Array, Array]:
    """Log densities of the values times the weights of numbers of atoms.

    For all numbers of atoms, shape (N, m); summed up to each largest number of atoms, (N, m); the
    logarithms of the sums of the weights, (m,); and the log densities of all values, (m,).
    """
    variance = data["variance"][:, None] + jnp.square(scatter * means)
    squared = jnp.square(data["values"][:, None] - means)
    logs = walk - 0.5 * (squared / variance + jnp.log(2 * jnp.pi * variance))
    highest = jax.lax.stop_gradient(jnp.max(logs, axis=1, keepdims=True))
    # Triangular matrices compile much faster than cumulative sums of logarithms.
    up_to = jnp.triu(jnp.ones((len(means), len(means))))
    sums = jnp.log(jnp.exp(logs - highest) @ up_to + LEAST_SUM) + highest
    weights = jnp.log(jnp.exp(walk) @ up_to)
    return logs, sums, weights, jnp.sum(sums - weights, axis=0)


def _cost(
    model: Partial, data: dict[str, Array], u: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Negative log posterior in standard deviations of the priors, and `_curve`."""
    of_curve = _curve(model, data, u)
    *_, of_largest = _logs(data, *of_curve)
    cost = -jax.scipy.special.logsumexp(of_largest) + 0.5 * jnp.sum(u**2)
    return cost, of_curve


_evaluate = jax.jit(jax.value_and_grad(_cost, argnums=2, has_aux=True))
"""The one function with the forward model in it, which takes long to compile."""


def _hessian(model: Partial, data: dict[str, Array], u: np.ndarray) -> Float[np.ndarray, "u u"]:
    """Central differences of exact gradients, which take no time to compile."""
    sides = [
        np.asarray(_evaluate(model, data, jnp.asarray(u + step))[1], float)
        for one in np.eye(len(u))
        for step in (DIFFERENCE * one, -DIFFERENCE * one)
    ]
    rows = (np.array(sides[::2]) - np.array(sides[1::2])) / (2 * DIFFERENCE)
    return (rows + rows.T) / 2


@jax.jit
def _probabilities(
    data: dict[str, Array],
    means: Float[Array, "draws m"],
    scatter: Float[Array, " draws"],
    walk: Float[Array, "draws m"],
) -> Float[Array, "N m"]:
    """Probabilities of numbers of atoms, averaged over draws."""

    def one(draw: tuple[Array, Array, Array]) -> Array:
        logs, sums, _, of_largest = _logs(data, *draw)
        m = len(of_largest)
        # Of each number of atoms: all largest numbers from it on.
        terms = jax.nn.log_softmax(of_largest) - sums
        highest = jnp.max(terms, axis=1, keepdims=True)
        beyond = jnp.exp(terms - highest) @ jnp.tril(jnp.ones((m, m)))
        return jax.nn.softmax(logs + jnp.log(beyond + LEAST_SUM), axis=1)

    return jnp.mean(jax.lax.map(one, (means, scatter, walk)), axis=0)


def _starts(
    model: Partial, data: dict[str, Array], size: int, thickest: int
) -> Float[np.ndarray, "starts u"]:
    """Points along the direction in which the thick columns' cross-sections vary most."""

    def scale(u: np.ndarray) -> float:
        means = _evaluate(model, data, jnp.asarray(u))[0][1][0]
        return float(jnp.log(means[min(thickest, len(means) - 1)]))

    steps = DIFFERENCE * np.eye(size)
    slope = np.array([scale(step) - scale(-step) for step in steps]) / (2 * DIFFERENCE)
    spread = float(np.linalg.norm(slope))
    if not np.isfinite(spread):
        raise InputError("settings: the forward model gives no curve there")
    if spread == 0:
        return np.zeros((1, size))
    half = int(np.ceil(REACH * spread * thickest / STEP_ATOMS))
    half = int(np.clip(half, 1, MOST_STARTS // 2))
    along = REACH * np.arange(-half, half + 1) / half
    order = np.argsort(np.abs(along), kind="stable")
    return along[order, None] * (slope / spread)


def _maxima(
    model: Partial,
    data: dict[str, Array],
    thickest: int,
    progress: Callable[[float], None] | None,
) -> list[tuple[float, np.ndarray]]:
    """Cost and place of every maximum of the posterior that is found.

    Where there are many columns, maxima are first searched with a subset of them. The posterior of
    the subset has the same maxima, and they are wider. The search then continues with all columns.
    """
    some, count = data, len(data["values"])
    if count > MOST_SEARCHED:
        chosen = np.linspace(0, count - 1, MOST_SEARCHED).astype(int)
        some = data | {name: data[name][chosen] for name in ("values", "variance")}
    starts = _starts(model, some, _size(data), thickest)
    found: list[tuple[float, np.ndarray]] = []
    for number, start in enumerate(starts, 1):
        _add_maximum(model, some, start, found)
        if progress:
            progress(number / len(starts))
    found.sort(key=lambda one: one[0])
    if some is not data:
        wider, found = [u for cost, u in found if cost - found[0][0] < SEARCHED_WITHIN], []
        for start in wider:
            _add_maximum(model, data, start, found)
    if not found:
        raise InputError("cross-sections: no settings near the nominal ones explain them")
    return sorted(found, key=lambda one: one[0])


def _add_maximum(
    model: Partial,
    data: dict[str, Array],
    start: np.ndarray,
    found: list[tuple[float, np.ndarray]],
) -> None:
    """Search a maximum, and add it to those found unless it is one of them."""

    def function(u: np.ndarray) -> tuple[float, np.ndarray]:
        (value, _), gradient = _evaluate(model, data, jnp.asarray(u))
        return float(value), np.asarray(gradient, float)

    end: Any = scipy.optimize.minimize(
        function, start, jac=True, method="BFGS", options={"maxiter": 200, "gtol": GRADIENT}
    )
    if np.isfinite(end.fun) and all(np.abs(end.x - u).max() > SAME for _, u in found):
        found.append((float(end.fun), end.x))


def _weighed(
    model: Partial,
    data: dict[str, Array],
    problem: Problem,
    n_atoms: np.ndarray,
    maxima: list[tuple[float, np.ndarray]],
    seed: int,
) -> Counts:
    """Maxima with their evidence, and probabilities averaged over them."""
    generator = np.random.default_rng(seed)
    least = maxima[0][0]
    evidence, spreads = [], []
    maxima = [one for one in maxima if one[0] - least < 50]
    for cost, u in maxima:
        power, vectors = np.linalg.eigh(_hessian(model, data, u))
        # What the data do not constrain has the prior's precision of 1; less is not a maximum.
        power = np.maximum(power, 0.1)
        evidence.append(-cost - 0.5 * np.log(power).sum())
        spreads.append(vectors / np.sqrt(power))
    weights = scipy.special.softmax(np.array(evidence))
    order = [i for i in np.argsort(-weights) if weights[i] > LEAST_PROBABILITY]
    weights = weights[order] / weights[order].sum()
    solutions, probabilities = [], []
    free = len(data["free"])
    for weight, i in zip(weights, order, strict=True):
        u, spread = maxima[i][1], spreads[i]
        draws = u + generator.standard_normal((DRAWS, len(u))) @ spread.T
        curves = [_evaluate(model, data, jnp.asarray(draw))[0][1] for draw in (*draws, u)]
        drawn = [jnp.stack(parts) for parts in zip(*curves[:-1], strict=True)]
        here = np.asarray(_probabilities(data, *drawn), float)
        means = np.asarray(curves[-1][0], float)
        std = np.sqrt(np.sum(spread**2, axis=1))
        width = np.asarray(data["width"])
        values = np.clip(problem.nominal + width * u[:free], *problem.bounds)
        estimates = {
            name: (float(value), float(s))
            for name, value, s in zip(problem.names, values, width * std[:free], strict=True)
        }
        scatter = SCATTER * SCATTER_FACTOR ** float(u[-1])
        estimates["scatter"] = scatter, scatter * float(np.log(SCATTER_FACTOR) * std[-1])
        if len(data["loss"]):
            estimates["mistilt_mrad"] = _mistilt(float(data["mistilt_std"]), u[-2], std[-2])
        gain = estimates.get("gain", (problem.gain, 0.0))[0]
        total = int(n_atoms[here.argmax(axis=1)].sum())
        solutions.append(
            Solution(
                f"gain {gain:.4g}",
                float(weight),
                -2 * evidence[i],
                total,
                gain,
                means,
                n_atoms,
                estimates,
            )
        )
        probabilities.append(here)
    return Counts("joint", n_atoms, combined(probabilities, weights), tuple(solutions))


def _mistilt(std_mrad: float, u: float, std: float) -> tuple[float, float]:
    """Length of the mistilt [mrad] and its standard deviation."""
    length, slope = jax.value_and_grad(lambda v: std_mrad * jnp.sqrt(_squared_length(v) + 1e-12))(
        float(u)
    )
    return float(length), float(slope) * std
