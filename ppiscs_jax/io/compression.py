"""Kernels in few bytes: what is lost is less than the standard error of what is kept.

Three ideas. Kernels are stored as S(θ), the fraction scattered beyond an angle: detectors are
differences of two S, and inside the bright field, where neighbouring bins move against each
other, S is quiet. Along thickness, mean and batches are written in the few principal components
that they share. And coefficients are rounded in units of their standard error, never finer.
"""

from collections.abc import Mapping

import numpy as np

from ppiscs_jax.io.schema import Numbers

MEAN_STEP = 0.2
"""Rounding of the mean's coefficients, in standard errors of the mean."""

BATCH_STEP = 0.5
"""Rounding of the batches' coefficients, in standard deviations of a batch."""

MEAN_RESIDUAL = 0.08
BATCH_RESIDUAL = 0.35
"""Rms of what the principal components leave out, in the same units."""

BATCH_STRIDE = 2
"""The batches' S(θ) is kept at every so many edges, and is linear in between."""

WHOLE_UP_TO = 2.0
"""Up to so many times the largest tilt it is kept at every edge: S is noisy inside the unscattered
beam and quiet right outside, and between Bragg spots, so that errors could not be interpolated."""

LEAST_ERROR = 1e-7
"""Errors below this fraction of the electrons are taken for it: rounding of float32."""

ROOM = 0.2
"""Noise and rounding may take fractions so far below 0 and above 1."""

NUMBERS = {
    "mean": Numbers(
        ("components", "rings", "bins"),
        "0.2 standard errors; differences along collection angle",
        kinds="iu",
    ),
    "batches": Numbers(
        ("leading components", "batches less one", "rings", "kept bins"),
        "0.5 standard deviations; differences along collection angle",
        kinds="iu",
    ),
    "basis": Numbers(("n", "components"), "1", -1.01, 1.01),
    "thickness_scale": Numbers(("n",), "1", 1e-15, 1e3),
    "angle_scale": Numbers(("rings", "bins"), "fraction of the electrons", 1e-15, 1e9),
}
"""The unit in which each array is stored. Beyond angle j, in ring r, after n atoms the mean is
MEAN_STEP Σ_k basis[n, k] · coefficient[k, r, j] · thickness_scale[n] · angle_scale[r, j]; batches
are likewise deviations from it, in steps BATCH_STEP · √batches. The last batch, which is not
stored, is minus the sum of the others."""

Arrays = dict[str, np.ndarray]


def compress(
    batch_means: np.ndarray, angle_edges_mrad: np.ndarray, largest_tilt_mrad: float
) -> Arrays:
    """Arrays that hold the means of batches, shape (batches, rings, n, bins), in few bytes."""
    n_batches, rings, n, _ = batch_means.shape
    beyond = np.cumsum(batch_means[..., ::-1], axis=-1)[..., ::-1]
    mean = beyond.mean(axis=0)
    deviations = beyond - mean
    error = np.maximum(deviations.std(axis=0, ddof=1) / np.sqrt(n_batches), LEAST_ERROR)
    thickness_scale, angle_scale = _scales(error)
    scale = thickness_scale[:, None] * angle_scale[:, None, :]
    whole = int(np.searchsorted(angle_edges_mrad[:-1], WHOLE_UP_TO * largest_tilt_mrad))
    kept = _kept(angle_edges_mrad, whole // BATCH_STRIDE)
    # One row a thickness; the mean in standard errors, the batches in standard deviations.
    of_mean = np.moveaxis(mean / scale, 1, 0).reshape(n, -1)
    of_batches = np.moveaxis((deviations / (scale * np.sqrt(n_batches)))[..., kept], 2, 0)
    of_batches = of_batches.reshape(n, -1)
    basis = _shared_basis(of_mean, of_batches)
    rank = _enough(basis, of_batches, BATCH_RESIDUAL)
    # What is left out goes back into the size of the rest: errors stay what they are.
    share = 1 / np.sqrt(1 - BATCH_RESIDUAL**2)
    mean_steps = np.rint(basis.T @ of_mean / MEAN_STEP).astype(np.int32)
    batch_steps = np.rint(share * basis.T[:rank] @ of_batches / BATCH_STEP).astype(np.int32)
    mean_steps = mean_steps.reshape(-1, rings, len(angle_edges_mrad) - 1)
    batch_steps = batch_steps.reshape(rank, n_batches, rings, len(kept))[:, :-1]
    return {
        "mean": _smallest(np.diff(mean_steps, axis=-1, prepend=0)),
        "batches": _smallest(np.diff(batch_steps, axis=-1, prepend=0)),
        "basis": basis,
        "thickness_scale": thickness_scale,
        "angle_scale": angle_scale,
    }


def check_lengths(sizes: Mapping[str, int]) -> None:
    """Refuse axes whose lengths are such as `compress` does not make.

    Raises:
        ValueError: saying which.
    """
    if not sizes["leading components"] <= sizes["components"] <= sizes["n"]:
        raise ValueError("there are more components than thicknesses")
    if not -(-sizes["bins"] // BATCH_STRIDE) <= sizes["kept bins"] <= sizes["bins"]:
        raise ValueError("batches are kept at another number of angles than they can be")


def expand_mean(arrays: Arrays) -> np.ndarray:
    """Fractions scattered beyond each bin's lower edge, mean over batches, (rings, n, bins).

    Raises:
        ValueError: they are not fractions.
    """
    steps = np.cumsum(arrays["mean"], axis=-1, dtype=np.int64)
    beyond = _to_fractions(MEAN_STEP * steps, arrays, arrays["angle_scale"])
    if not (np.min(beyond) > -ROOM and np.max(beyond) < 1 + ROOM):
        raise ValueError("what is scattered is not a fraction of the electrons")
    return beyond


def expand(arrays: Arrays, angle_edges_mrad: np.ndarray) -> np.ndarray:
    """The means of the batches, shape (batches, rings, n, bins): fractions in bins."""
    steps = np.moveaxis(np.cumsum(arrays["batches"], axis=-1, dtype=np.int64), 1, 0)
    steps = np.concatenate([steps, -steps.sum(axis=0, keepdims=True)])
    added = steps.shape[-1] - len(_kept(angle_edges_mrad, 0))
    kept = _kept(angle_edges_mrad, added)
    size = BATCH_STEP * np.sqrt(len(steps))
    deviations = _to_fractions(size * steps, arrays, arrays["angle_scale"][:, kept])
    # Nothing is scattered beyond the last edge.
    edges = np.append(angle_edges_mrad[kept], angle_edges_mrad[-1])
    deviations = np.append(deviations, np.zeros_like(deviations[..., :1]), axis=-1)
    deviations = deviations @ _linear_weights(edges, angle_edges_mrad)
    beyond = expand_mean(arrays)
    return deviations[..., :-1] - deviations[..., 1:] - np.diff(beyond, axis=-1, append=0)


def _kept(edges: np.ndarray, added: int) -> np.ndarray:
    """Indices of the edges at which the batches are kept; the last one's S is 0.

    Every BATCH_STRIDE-th, and the first `added` of the others: how many can be told from the
    number of all.
    """
    indices = np.arange(len(edges) - 1)
    others = indices[indices % BATCH_STRIDE > 0]
    return np.union1d(indices[::BATCH_STRIDE], others[:added])


def _linear_weights(nodes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Matrix (nodes, x) of linear interpolation."""
    return np.array([np.interp(x, nodes, unit) for unit in np.eye(len(nodes))])


def _smallest(steps: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest type that holds them."""
    largest = np.abs(steps).max(initial=0)
    types = (np.int8, np.int16, np.int32, np.int64)
    return steps.astype(next(t for t in types if largest <= np.iinfo(t).max))


def unsigned(values: np.ndarray) -> np.ndarray:
    """Whole numbers as 0, −1, 1, −2, … counted from 0 in the smallest type; others as they are.

    Small numbers of either sign then differ in few bytes, and compress by a fifth more.
    """
    if values.dtype.kind != "i":
        return values
    counted = np.where(values >= 0, 2 * values.astype(np.int64), -2 * values.astype(np.int64) - 1)
    types = (np.uint8, np.uint16, np.uint32)
    return counted.astype(next(t for t in types if counted.max(initial=0) <= np.iinfo(t).max))


def signed(values: np.ndarray) -> np.ndarray:
    """The numbers of `unsigned` again."""
    if values.dtype.kind != "u":
        return values
    if values.dtype.itemsize > 4:
        raise ValueError(f"whole numbers of {values.dtype.itemsize} bytes")
    counted = values.astype(np.int64)
    # Halves; all bits turned round (−1 − half) where the last one was set.
    return _smallest((counted >> 1) ^ -(counted & 1))


def _to_fractions(coefficients: np.ndarray, arrays: Arrays, angle_scale: np.ndarray) -> np.ndarray:
    """Coefficients (…, k, rings, angles) as fractions of the electrons (…, rings, n, angles)."""
    rank = coefficients.shape[-3]
    scaled_basis = arrays["basis"][:, :rank].astype(float) * arrays["thickness_scale"][:, None]
    fractions = np.einsum("nk,...krj->...rnj", scaled_basis, coefficients, optimize=True)
    return fractions * angle_scale[:, None, :]


def _scales(error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The errors, (rings, n, bins), as about a function of n times one of ring and bin."""
    logs = np.log(error)
    thickness = np.median(logs, axis=(0, 2))
    angle = np.median(logs - thickness[:, None], axis=1)
    return np.exp(thickness).astype(np.float32), np.exp(angle).astype(np.float32)


def _shared_basis(mean: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Orthonormal components of the rows' axis, enough to hold the mean to its residual."""
    weights = (1 / MEAN_RESIDUAL, 1 / BATCH_RESIDUAL)
    gram = sum(w**2 / x.shape[1] * (x @ x.T) for w, x in zip(weights, (mean, batches), strict=True))
    vectors = np.linalg.eigh(gram)[1][:, ::-1]
    return vectors[:, : _enough(vectors, mean, MEAN_RESIDUAL)].astype(np.float32)


def _enough(basis: np.ndarray, x: np.ndarray, residual: float) -> int:
    """Number of leading components that leave out at most `residual` of x, as an rms."""
    held = np.cumsum(((basis.T @ x) ** 2).sum(axis=1))
    left = np.sqrt(np.maximum((x**2).sum() - held, 0) / x.size)
    return 1 + int(np.argmax(left <= residual)) if left[-1] <= residual else len(left)
