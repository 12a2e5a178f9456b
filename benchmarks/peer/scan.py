"""Variance times core time of one PPISCS: abTEM's probe scan and `simulate`."""

import math
import warnings

import numpy as np
from scipy import stats

from peer.common import (
    CELL,
    COLUMN_AREA,
    CONVERGED,
    N_ATOMS,
    NYQUISTS,
    SETTINGS,
    WAVES,
    abtem_nyquist_sampling,
    abtem_potential,
    abtem_scan,
    abtem_tilted,
    console,
    even_gpts,
    import_abtem,
    slab,
    table,
    timed,
)
from ppiscs_jax import simulate
from ppiscs_jax.multislice.illumination import sample_tilts


def abtem_convergence(abtem, quick):
    """Print PPISCS of the same atoms and tilts on finer and finer grids of abTEM.

    Tilted plane waves, each through its own displaced crystal of one cell; nothing is random
    between the grids, so differences are abTEM's pixels and band limit alone. Returns the
    Nyquist frequency [Å⁻¹] of the coarsest grid from which on all are converged.
    """
    nyquists = np.array(NYQUISTS[:3] if quick else NYQUISTS)
    tilts, _ = sample_tilts((0.0, 90.0), np.array([0.0, 20.0]), (1,), 0, 2 if quick else 4)
    thicknesses = (1, N_ATOMS)
    values = np.zeros((len(nyquists), len(thicknesses)))
    for column, n in enumerate(thicknesses):
        atoms = slab((1, 1), n)
        for row, nyquist in enumerate(nyquists):
            gpts = even_gpts((1, 1), nyquist)
            fractions = [
                abtem_tilted(abtem, abtem_potential(abtem, atoms, gpts, seed), tilt)
                for seed, tilt in enumerate(tilts)
            ]
            values[row, column] = COLUMN_AREA * np.mean(fractions)
    off = values / values[-1] - 1
    rows = table(
        "abTEM on finer grids, same displaced atoms and tilts: difference to the finest",
        "Nyquist (band limit) [Å⁻¹]",
        *(f"n = {n}" for n in thicknesses),
    )
    for nyquist, differences in zip(nyquists, off, strict=True):
        rows.add_row(
            f"{nyquist:g} ({2 * nyquist / 3:.1f})", *(f"{100 * d:+.2f} %" for d in differences)
        )
    console.print(rows)
    last_bad = np.flatnonzero(np.any(np.abs(off) > CONVERGED, axis=1))
    return nyquists[last_bad[-1] + 1]


def abtem_coarse(abtem, atoms, scan, repeats, configurations):
    """Values [Å²] and core seconds of abTEM's frozen-phonon configurations, paper's pixels.

    Each is a whole probe scan: displaced atoms, potential, multislice, detector. A scan of two
    slices before them plans the FFTs and is not counted.
    """
    gpts = even_gpts(repeats, NYQUISTS[0])

    def configuration(seed):
        fractions = abtem_scan(abtem, abtem_potential(abtem, atoms, gpts, seed), scan)
        return COLUMN_AREA * fractions.mean()

    abtem_scan(abtem, abtem_potential(abtem, slab(repeats, 1), gpts, 0), scan)
    runs = [timed(configuration, seed) for seed in range(1, configurations + 1)]
    values, seconds = np.array(runs).T
    return values, seconds.mean()


def abtem_fine_seconds(abtem, atoms, scan, repeats, nyquist):
    """Core seconds of one configuration on the converged grid, from a few positions.

    The potential is built once (timed), then a few positions, one default chunk of abTEM, go
    through it (timed after a chunk through two slices that plans the FFTs); their time is
    scaled to all positions.
    """
    gpts = even_gpts(repeats, nyquist)
    chunk = max(1, int(128e6 / (8 * math.prod(gpts))))
    positions = np.random.default_rng(0).random((chunk, 2)) * CELL
    few = abtem.CustomScan(positions)
    thin = abtem_potential(abtem, slab(repeats, 1), gpts, 0)
    abtem_scan(abtem, thin.build().compute(), few)
    potential = abtem_potential(abtem, atoms, gpts, 1)
    built, build_seconds = timed(lambda: potential.build().compute())
    _, seconds = timed(abtem_scan, abtem, built, few)
    n_positions = math.prod(scan.gpts)
    console.print(
        f"abTEM on {gpts[0]} × {gpts[1]} pixels: potential {build_seconds:.1f} s, {chunk} "
        f"positions {seconds:.1f} s, scaled to {n_positions} positions"
    )
    return build_seconds + n_positions * seconds / chunk


def ours_runs(quick):
    """Value, relative variance of the mean, core seconds and waves of `simulate`; its batches.

    Each of several seeds takes a fixed number of waves: to stop at an error would favour
    errors that happen to look small. What a call does is counted (specimen, tilts, waves,
    statistics) except compilation and the core table of the element, which is cached: an
    earlier call with another seed pays for them.
    """

    def run(seed, waves):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the error asked for is not reached
            return simulate(SETTINGS, 1e-6, seed, n_atoms=N_ATOMS, workers=1, max_waves=waves)

    run(1000, 128)
    runs = []
    for seed in range(1 if quick else 4):
        curve, seconds = timed(run, seed, WAVES)
        value, error = curve.ppiscs[-1], curve.standard_error[-1]
        runs.append((value, (error / value) ** 2, seconds, curve.waves))
    return np.array(runs), curve.batches


def variance_interval(dof, level=0.95):
    """Interval of true variance over its estimate from normal samples (chi-square)."""
    tail = (1 - level) / 2
    return dof / stats.chi2.ppf([1 - tail, tail], dof)


def scan_benchmark(options):
    """(SE / value)² × core seconds of one PPISCS at n = 20: abTEM's probe scan, and ours."""
    rows = table(
        f"Variance × core time at n = {N_ATOMS}",
        "",
        "PPISCS [Å²]",
        "SD of one\nestimate",
        "core s",
        "(SE/value)²\n× core s",
        "95 %",
        "over ours",
        "95 %",
    )
    runs, batches = ours_runs(options.quick)
    values, variances, seconds, waves = runs.T
    cost = variances.mean() * seconds.mean()
    dof = len(runs) * (batches - 1)
    low, high = cost * variance_interval(dof)
    rows.add_row(
        f"ours, {waves.mean():.0f} waves",
        f"{values.mean():.5f} ± {math.sqrt((variances * values**2).sum()) / len(runs):.5f}",
        f"{100 * math.sqrt(variances.mean()):.2f} %",
        f"{seconds.mean():.1f}",
        f"{cost:.2e}",
        f"{low:.1e} … {high:.1e}",
        "1",
        "",
    )
    console.print(f"ours, each run [Å²]: {np.round(values, 5).tolist()}")
    abtem = import_abtem()
    if abtem:
        nyquist = abtem_convergence(abtem, options.quick)
        repeats = np.ceil(options.supercell / CELL - 0.5).astype(int)
        atoms = slab(repeats, N_ATOMS)
        scan = abtem.GridScan(
            (0, 0), tuple(CELL), sampling=abtem_nyquist_sampling(abtem), endpoint=False
        )
        console.print(
            f"abTEM: supercell {repeats[0]} × {repeats[1]} cells "
            f"({CELL[0] * repeats[0]:.2f} × {CELL[1] * repeats[1]:.2f} Å), scan of "
            f"{scan.gpts[0]} × {scan.gpts[1]} positions over one cell"
        )
        values, seconds = abtem_coarse(abtem, atoms, scan, repeats, options.configurations)
        console.print(f"abTEM, each configuration [Å²]: {np.round(values, 5).tolist()}")
        relative = (values.std(ddof=1) / values.mean()) ** 2
        theirs = len(values) - 1
        error = values.std(ddof=1) / math.sqrt(len(values))
        fine = abtem_fine_seconds(abtem, atoms, scan, repeats, nyquist)
        tails = stats.f.ppf([0.975, 0.025], theirs, dof)
        for name, core_seconds, value in (
            (
                f"abTEM, Nyquist {NYQUISTS[0]} Å⁻¹",
                seconds,
                f"{values.mean():.5f} ± {error:.5f}",
            ),
            (f"abTEM, Nyquist {nyquist:g} Å⁻¹", fine, "–"),
        ):
            product = relative * core_seconds
            low, high = product * variance_interval(theirs)
            first, last = product / cost / tails
            rows.add_row(
                name,
                value,
                f"{100 * math.sqrt(relative):.2f} %",
                f"{core_seconds:.1f}",
                f"{product:.2e}",
                f"{low:.1e} … {high:.1e}",
                f"{product / cost:.0f}",
                f"{first:.0f} … {last:.0f}",
            )
    console.print(rows)
