"""Fits of curves whose errors are correlated along thickness.

Let d be the differences between model and measurement in units of the independent errors, and
1 + G Gᵀ their covariance, G from few modes. Known covariances are whitened: with the singular
values s and vectors U of G, (1 + G Gᵀ)^(−1/2) d = d − U (1 − 1/√(1 + s²)) Uᵀ d, whose components
are independent and of unit variance.

A covariance that is estimated from the B batches of a simulation has rank B − 1 at most and cannot
be inverted. The inverse is not needed: near its minimum, a fit of k numbers depends only on the k
combinations Hᵀd, where H is an orthonormal basis of the Jacobian's columns. First the batches'
variances are taken as
independent errors, and the minimum is found. Then d is replaced by the k combinations in units of
their own covariance, Hᵀ(1 + G Gᵀ)H and that of the batches, which B batches do determine. That
gives the sandwich covariance of the first estimate (White, Econometrica 48 (1980) 817), also
where there are priors. An estimated covariance makes the estimate's squared Mahalanobis distance
Hotelling's T², whose mean is ν / (ν − k − 1) times k with ν = B − 1; the batches' part of the
covariance is larger by this factor, so that the mean is k.

Over 2500 made-up curves of 16 batches (tests/inverse/test_correlated.py), the mean squared
Mahalanobis distance over k = 2 was 1.01 ± 0.03 with this method, and 17 with the variances alone.
The variances that serve as weights are smoothed along thickness, because unsmoothed ones made this
number 10 % larger.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import fdtrc

from ppiscs_jax.inverse.measured import Errors

PADDED_TO = 8
"""Numbers of modes are multiples of this, for few shapes to compile."""

SMOOTH_DIRECTIONS = 4
"""Polynomials in thickness along which it is tested whether the model explains the curve."""

NEGLIGIBLE = 1e-9
"""Singular values that are smaller, compared with the largest, count as zero."""


class Whitening(NamedTuple):
    """Makes residuals independent: d becomes `keep` · d + left (rightᵀ d).

    Attributes:
        keep: 1, or 0 where residuals are replaced by few combinations of them, shape ().
        left, right: shape (n, modes).
    """

    keep: Float[np.ndarray, "*cases"]
    left: Float[np.ndarray, "*cases n modes"]
    right: Float[np.ndarray, "*cases n modes"]

    def __call__(self, d: np.ndarray) -> np.ndarray:
        """Whitened residuals, of d with shape (n,) or (n, columns)."""
        return self.keep * d + self.left @ (self.right.T @ d)

    def transposed(self, d: np.ndarray) -> np.ndarray:
        """The transposed operation."""
        return self.keep * d + self.right @ (self.left.T @ d)

    def padded(self, modes: int) -> "Whitening":
        """The same with more modes, which do nothing."""
        more = ((0, 0), (0, modes - self.left.shape[1]))
        return Whitening(self.keep, np.pad(self.left, more), np.pad(self.right, more))


def padded_size(modes: int) -> int:
    """Number of modes after padding: the next multiple of PADDED_TO."""
    return -(-modes // PADDED_TO) * PADDED_TO


def whitening(modes: Float[np.ndarray, "modes n"]) -> Whitening:
    """For residuals of covariance 1 + modesᵀ modes."""
    vectors, values, _ = np.linalg.svd(modes.T, full_matrices=False)
    significant = values > NEGLIGIBLE
    shrunk = 1 / np.sqrt(1 + values[significant] ** 2) - 1
    return Whitening(np.ones(()), vectors[:, significant] * shrunk, vectors[:, significant])


class Goodness(NamedTuple):
    """Goodness of fit of a curve: χ² or T², degrees of freedom, p-value."""

    chi_squared: float
    dof: int
    p_value: float


class Projection(NamedTuple):
    """Residuals replaced by the combinations of them that a fit depends on.

    Attributes:
        whitening: of the residuals in units of `scale`.
        tested, tested_covariance: orthonormal directions beside those of the fit, of the
            residuals as whitened before, and the covariance along them, shape (n, q), (q, q).
        degrees_of_freedom: of that covariance.
    """

    whitening: Whitening
    tested: Float[np.ndarray, "n q"]
    tested_covariance: Float[np.ndarray, "q q"]
    degrees_of_freedom: float

    def goodness(
        self, residual: Float[np.ndarray, " n"], squares: float, points: int, numbers: int
    ) -> Goodness:
        """Of a fit.

        Args:
            residual: of the data at the estimate, as whitened before the projection.
            squares: sum of squared residuals of the projected data and of the priors.
            points, numbers: how many of these there are, and how many numbers were estimated.
        """
        along = self.tested.T @ residual
        statistic = squares + along @ np.linalg.solve(self.tested_covariance, along)
        dof = points + len(along) - numbers
        second = self.degrees_of_freedom - dof + 1
        if dof <= 0 or second <= 0:
            return Goodness(float(statistic), dof, np.nan)
        p_value = fdtrc(dof, second, statistic * second / (self.degrees_of_freedom * dof))
        return Goodness(float(statistic), dof, float(p_value))


def project(
    errors: Errors,
    scale: Float[np.ndarray, " n"],
    known: Whitening,
    jacobian: Float[np.ndarray, "n k"],
) -> Projection:
    """The projection on what a fit depends on.

    Args:
        errors: of the measured values that are there.
        scale: one over their errors, as in `Case`, the batches' variances included.
        known: whitening of the known covariances, in these units.
        jacobian: of the residuals, whitened, by the free numbers, each in any unit.
    """
    n = len(scale)
    directions, values, _ = np.linalg.svd(
        jacobian / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300), full_matrices=False
    )
    basis = directions[:, values > NEGLIGIBLE * max(values[0], 1e-300)]
    batches = known((errors.estimated * scale).T)
    variances = errors.smooth_variance * scale**2

    def covariance_along(vectors: np.ndarray, factor: float) -> tuple[np.ndarray, float]:
        """Covariance along some directions, and its degrees of freedom (Satterthwaite's)."""
        # `known` whitens the batches' variances as well, as if they were independent errors.
        back = known.transposed(vectors)
        of_known = vectors.T @ vectors - back.T @ (variances[:, None] * back)
        of_batches = factor * (vectors.T @ batches) @ (vectors.T @ batches).T
        total = of_known + of_batches
        share = np.trace(of_batches) / np.trace(total)
        return total, errors.degrees_of_freedom / max(share, 1e-9) ** 2

    freedom = errors.degrees_of_freedom
    factor = freedom / max(freedom - basis.shape[1] - 1, 1)
    covariance, _ = covariance_along(basis, factor)
    power, vectors = np.linalg.eigh(covariance)
    power = np.maximum(power, NEGLIGIBLE * power[-1])
    # H Σ^(−1/2) Hᵀ, after what is known has been whitened.
    axes = basis @ vectors
    projected = Whitening(np.zeros(()), axes / np.sqrt(power), known.transposed(axes))

    powers = np.polynomial.legendre.legvander(np.linspace(-1, 1, n), SMOOTH_DIRECTIONS - 1)
    powers = powers - basis @ (basis.T @ powers)
    smooth, values, _ = np.linalg.svd(powers, full_matrices=False)
    smooth = smooth[:, values > 1e-6 * max(values[0], 1e-300)]
    along, freedom_along = covariance_along(smooth, 1.0)
    return Projection(projected, smooth, along, freedom_along)
