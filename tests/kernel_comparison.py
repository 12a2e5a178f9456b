"""Kernels of two runs are the same but for rounding."""

from pathlib import Path

import numpy as np

from ppiscs_jax.io.compression import BATCH_STEP, MEAN_STEP
from ppiscs_jax.io.kernels import load_kernels, read_kernels

PLANES, PIXELS = 10, 28**2
"""Of the small campaign of aluminium [100]: 5 atoms a column, two planes each."""

WAVE_ROUNDING = 2 * PLANES * np.log2(PIXELS) * 2.0**-24
"""Relative error of a wave in float32: each plane takes two Fourier transforms, each of which adds
about log₂ N roundings of 2⁻²⁴; 1.1e-5."""


def assert_same_kernel(made: Path, expected: Path) -> None:
    """Two files of one kernel say the same, and differ in their numbers by rounding only.

    Processes with different numbers of threads add in different orders, so bytes may differ. What
    is promised is the name, the metadata (settings, seed, waves, batches, versions), the edges,
    and S, the fraction beyond an angle, of the mean and of each batch's deviation from it, to

    - rounding in float32: a fraction S is a squared amplitude, and so errs by 2 √S WAVE_ROUNDING;
    - rounding in the file: S is Σ_k basis[n, k] coefficient_k, times a scale, and rounding errors
      as small as the above may change a coefficient from one whole number of steps to the next.
      Rows of the basis are at most 1 long, so K coefficients change S by up to √K steps.

    The last batch is not stored: it is minus the sum of the others, and so are its errors.
    """
    (mine,), (other,) = read_kernels(made), read_kernels(expected)
    assert mine[:2] == other[:2]
    kernels = [next(iter(load_kernels(path).values())) for path in (made, expected)]
    for edges in ("ring_edges_mrad", "angle_edges_mrad"):
        np.testing.assert_array_equal(getattr(kernels[0], edges), getattr(kernels[1], edges))
    np.testing.assert_allclose(kernels[0].lost, kernels[1].lost, atol=2 * WAVE_ROUNDING)

    beyond = [np.cumsum(k.batch_means[..., ::-1], axis=-1)[..., ::-1] for k in kernels]
    means = [s.mean(axis=0) for s in beyond]
    rounding = 2 * WAVE_ROUNDING * np.sqrt(np.abs(means[0]))
    scales = [a["thickness_scale"][:, None] * a["angle_scale"][:, None] for *_, a in (mine, other)]
    scale = np.maximum(*scales)
    coefficients = len(mine[2]["mean"])
    _assert_within("mean", *means, rounding, MEAN_STEP * scale, coefficients)

    deviations = [s - m for s, m in zip(beyond, means, strict=True)]
    # Between the edges at which the batches are kept they are linear in the angle.
    left, right = (np.pad(scale, ((0, 0), (0, 0), side))[..., cut] for side, cut in NEIGHBOURS)
    step = BATCH_STEP * np.sqrt(len(beyond[0])) * np.max([left, scale, right], axis=0)
    coefficients = len(mine[2]["batches"])
    for batch, (a, b) in enumerate(zip(*deviations, strict=True)):
        of = 1 if batch < len(beyond[0]) - 1 else len(beyond[0]) - 1
        _assert_within(f"batch {batch}", a, b, 2 * of * rounding, of * step, coefficients)


NEIGHBOURS = (((1, 0), slice(None, -1)), ((0, 1), slice(1, None)))
"""How an array is padded and cut so that it holds the values at the edge before, or after."""


def _assert_within(what, a, b, rounding, step, coefficients) -> None:
    steps = (np.abs(a - b) - rounding) / step
    at = np.unravel_index(np.argmax(steps), steps.shape)
    allowed = np.sqrt(coefficients)
    difference = abs(a[at] - b[at])
    assert steps[at] <= allowed, (
        f"{what}: differs by {difference:.3g} of the electrons in ring, thickness, angle {at}: "
        f"{difference / step[at]:.3g} steps of the file, of which rounding in float32 may make "
        f"{rounding[at] / step[at]:.3g} and rounding in the file {allowed:.3g}"
    )


def assert_same_kernels(made: Path, expected: Path, names: list[str]) -> None:
    """One folder has kernels of these names and no others, the same as in the other folder."""
    assert {path.stem for path in made.glob("[!.]*.h5")} == set(names)
    for name in names:
        assert_same_kernel(made / f"{name}.h5", expected / f"{name}.h5")
