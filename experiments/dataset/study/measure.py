"""Differences between curves, in parts per thousand of a curve's maximum."""

import numpy as np

from ppiscs_jax.simulation.bins import cumulative_weights
from ppiscs_jax.simulation.kernel import ScatteringKernel


def fractions(
    kernel: ScatteringKernel, convergence_mrad: float, detector_mrad: tuple[float, float]
) -> np.ndarray:
    """Fraction of the electrons in a detector, of every batch and thickness: (batches, n)."""
    squared = kernel.ring_edges_mrad**2
    rings = cumulative_weights(squared, convergence_mrad**2) * np.diff(squared)
    inner, outer = (cumulative_weights(kernel.angle_edges_mrad, x) for x in detector_mrad)
    return (kernel.batch_means @ (outer - inner)).transpose(0, 2, 1) @ rings / convergence_mrad**2


def standard_error(batches: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis."""
    return batches.std(axis=0, ddof=1) / np.sqrt(len(batches))


def paired(
    batches: np.ndarray, reference: np.ndarray, mean: np.ndarray | None = None
) -> dict[str, float]:
    """Difference of curves from a reference of the same waves.

    Args:
        batches, reference: curves of each batch, (batches, n).
        mean: the curve, where it is not the mean of the batches.
    """
    difference = batches - reference
    value = batches.mean(axis=0) if mean is None else mean
    return _summary(
        value - reference.mean(axis=0),
        standard_error(difference),
        standard_error(difference.mean(axis=1)),
        reference,
    )


def unpaired(batches: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Difference of curves from a reference of other waves; both (batches, n)."""
    both = (batches, reference)
    return _summary(
        batches.mean(axis=0) - reference.mean(axis=0),
        np.hypot(*(standard_error(x) for x in both)),
        np.hypot(*(standard_error(x.mean(axis=1)) for x in both)),
        reference,
    )


def _summary(
    difference: np.ndarray, error: np.ndarray, mean_error: np.ndarray, reference: np.ndarray
) -> dict[str, float]:
    """Over thickness: root mean square of difference and of its error, and the plain mean."""
    unit = 1e3 / reference.mean(axis=0).max()
    return {
        "rms_permille": float(unit * root_mean_square(difference)),
        "rms_error_permille": float(unit * root_mean_square(error)),
        "mean_permille": float(unit * difference.mean()),
        "mean_error_permille": float(unit * mean_error),
        "largest_permille": float(unit * np.abs(difference).max()),
    }


def root_mean_square(x: np.ndarray) -> float:
    """√ of the mean of squares."""
    return float(np.sqrt(np.mean(np.square(x))))
