"""Peers side by side in one run on one core: abTEM, prismatic, the published network.

All times are processor seconds (`time.process_time`) of a process held to one core, so that
other work on the machine does not count. Au [110], 300 kV, α = 20 mrad, rmsd 0.085 Å, detector
60–200 mrad. What is measured and how: benchmarks/README.md.

    python benchmarks/peers.py [--quick] [--only scan|wave|network]
"""

import os

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
for _name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from ppiscs_jax import Settings, simulate
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import sample_tilts
from ppiscs_jax.multislice.potential import displace, transmission
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch

SETTINGS = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
LATTICE = SETTINGS.element_data.lattice_angstrom
COLUMN_AREA = SETTINGS.zone_axis_data.column_area * LATTICE**2
CELL = np.array(SETTINGS.zone_axis_data.cell) * LATTICE
SLICE = SETTINGS.zone_axis_data.slice_thickness * LATTICE
N_ATOMS = 20
WAVES_SHARING = 8
"""Waves that share a stock of planes in `simulate`."""
WAVES = 384
"""Waves of one of our runs: about 0.3 % standard error at n = 20."""
NYQUISTS = (15.7, 30.0, 60.0, 90.0, 120.0)
"""Grids on which abTEM's convergence is looked at [Å⁻¹]; it keeps two thirds of each."""
CONVERGED = 0.005
"""Relative difference to the finest grid, at n = 1 and 20, below which a grid is converged."""

console = Console(width=130)


def timed(function, *args):
    """Result of a call and the processor seconds it took, all threads together."""
    start = time.process_time()
    result = function(*args)
    return result, time.process_time() - start


def best_of(repeats, function, *args):
    """Fewest processor seconds of several calls, after one that compiles or plans FFTs."""
    jax.block_until_ready(function(*args))
    return min(timed(lambda: jax.block_until_ready(function(*args)))[1] for _ in range(repeats))


def ask(python, script, task):
    """Last line that a script prints in another interpreter, parsed; or why there is none."""
    try:
        done = subprocess.run(
            [python, "-c", script], input=json.dumps(task), capture_output=True, text=True
        )
    except OSError as error:
        return str(error)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def table(title, *columns):
    """An empty table; the first column holds names, the others numbers."""
    result = Table(title=title, title_justify="left", min_width=len(title))
    for i, column in enumerate(columns):
        result.add_column(column, justify="right" if i else "left", no_wrap=True)
    return result


# --- abTEM ---------------------------------------------------------------------------------


def import_abtem():
    """The abtem module, without progress bars and with one thread; None if not installed."""
    if not all(importlib.util.find_spec(m) for m in ("abtem", "ase")):
        console.print("abTEM: skipped, not installed (dependency group `reference`)")
        return None
    import abtem
    import dask

    abtem.config.set({"diagnostics.progress_bar": False, "fftw.threads": 1, "mkl.threads": 1})
    dask.config.set(scheduler="single-threaded")
    return abtem


def slab(repeats, n_atoms):
    """Undisplaced crystal, each atomic plane in the middle of its own slice (ase.Atoms)."""
    import ase

    grid = CrystalGrid((1.0, 1.0), (2, 2), 1.0, SETTINGS.zone_axis, tuple(repeats))
    size, n_planes = CELL * repeats, n_atoms * len(grid.sites)
    planes = [
        np.column_stack(
            [np.mod(sites, 1) * size, np.full(len(sites), (i + 0.5) * SLICE)],
        )
        for i, sites in ((i, grid.sites[i % len(grid.sites)]) for i in range(n_planes))
    ]
    positions = np.concatenate(planes)
    symbols = [SETTINGS.element] * len(positions)
    return ase.Atoms(symbols, positions, cell=[*size, n_planes * SLICE], pbc=True)


def even_gpts(repeats, nyquist):
    """Even numbers of pixels that hold a Nyquist frequency [Å⁻¹] along both edges."""
    return tuple(int(2 * math.ceil(nyquist * length - 1e-9)) for length in CELL * repeats)


def abtem_potential(abtem, atoms, gpts, seed=None):
    """The potential in abTEM, of one frozen-phonon configuration where a seed is given."""
    if seed is not None:
        atoms = abtem.FrozenPhonons(
            atoms, 1, sigmas=SETTINGS.rmsd_angstrom, directions="xy", seed=seed
        )
    return abtem.Potential(
        atoms,
        gpts=gpts,
        slice_thickness=SLICE,
        parametrization="lobato",
        projection="infinite",
    )


def abtem_probe(abtem):
    """The focused probe, without aberrations."""
    return abtem.Probe(energy=SETTINGS.voltage_kv * 1e3, semiangle_cutoff=SETTINGS.convergence_mrad)


def abtem_scan(abtem, potential, scan):
    """Fractions that every position of a scan sends into the detector."""
    detector = abtem.AnnularDetector(SETTINGS.inner_mrad, SETTINGS.outer_mrad)
    measured = abtem_probe(abtem).scan(potential, scan=scan, detectors=detector)
    return np.asarray(measured.compute().array, dtype=float)


def abtem_tilted(abtem, potential, tilt_mrad):
    """Fraction that abTEM sends from one tilted plane wave into the detector.

    Its diffraction pattern is centred on the tilted beam, so the tilt is added to the angles.
    """
    energy = SETTINGS.voltage_kv * 1e3
    wave = abtem.PlaneWave(energy=energy, tilt=tuple(tilt_mrad)).multislice(potential)
    exit_wave = np.squeeze(wave.compute().array).astype(complex)
    intensity = np.abs(np.fft.fft2(exit_wave) / exit_wave.size) ** 2
    mrad = 1e3 * abtem.core.energy.energy2wavelength(energy)
    kx, ky = (np.fft.fftfreq(n, h) for n, h in zip(potential.gpts, potential.sampling, strict=True))
    theta = np.hypot(mrad * kx[:, None] + tilt_mrad[0], mrad * ky + tilt_mrad[1])
    inside = (theta >= SETTINGS.inner_mrad) & (theta < SETTINGS.outer_mrad)
    return intensity[inside].sum()


# --- A: variance times core time -----------------------------------------------------------


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


def abtem_nyquist_sampling(abtem):
    """Scan step [Å] at which an image of the probe is sampled without aliases."""
    return abtem_probe(abtem).aperture.nyquist_sampling


# --- B: one wave and slice -----------------------------------------------------------------


def ours_wave(pixels, repeats, quick):
    """Core milliseconds per slice of one further wave, and of making one plane.

    A wave: propagation, transmission from the stock, detection after every atom, from the
    difference of eight waves and four. A plane: displacements, structure factor, transmission
    function, core correction.
    """
    lengths = np.array(SETTINGS.zone_axis_data.cell) * repeats
    grid = CrystalGrid(
        tuple(lengths.tolist()), (pixels, pixels), 1.0, "110", tuple(map(int, repeats))
    )
    specimen, key = make_specimen(SETTINGS, grid), jax.random.key(0)
    edges = jnp.array([SETTINGS.inner_mrad, SETTINGS.outer_mrad])

    def waves(n):
        tilts, _ = sample_tilts((0.0, 90.0), np.array([0.0, 20.0]), (0,), 0, n)
        return scatter_batch(
            grid,
            specimen,
            key,
            jnp.asarray(tilts, jnp.float32),
            edges,
            n_atoms=N_ATOMS,
            n_planes=N_ATOMS,
        )

    slices, tries = N_ATOMS * len(grid.sites), 1 if quick else 3

    def plane(k):
        return transmission(grid, specimen.atom, displace(k, sites, specimen.rmsd))

    sites = jnp.asarray(grid.sites[0])
    planes = jax.jit(lambda k: jax.lax.map(plane, jax.random.split(k, slices)))
    wave = (best_of(tries, waves, 8) - best_of(tries, waves, 4)) / 4
    return 1e3 * wave / slices, 1e3 * best_of(tries, planes, key) / slices


def abtem_wave(abtem, pixels, repeats, quick):
    """Core milliseconds per slice of one further probe, and of making one slice.

    A probe: from the difference of nine probes in one chunk and one, through a built
    potential. A slice: building the potential, and what one probe alone takes longer than a
    further one (transmission function and its band limit, made anew for every chunk).
    """
    gpts, tries = (pixels, pixels), 1 if quick else 3
    potential = abtem_potential(abtem, slab(repeats, N_ATOMS), gpts, 0)
    built = potential.build().compute()
    build = best_of(tries, lambda: potential.build().compute().array)
    positions = np.random.default_rng(0).random((9, 2)) * CELL
    nine, one = (
        best_of(tries, abtem_scan, abtem, built, abtem.CustomScan(positions[:n])) for n in (9, 1)
    )
    wave, slices = (nine - one) / 8, len(potential)
    return 1e3 * wave / slices, 1e3 * (build + one - wave) / slices


PRISMATIC = """
import json, os, sys, time
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
import pyprismatic
task = json.load(sys.stdin)
os.chdir(task["folder"])

def seconds(name, probes):
    x, y, z = task["cells"][name]
    meta = pyprismatic.Metadata(
        filenameAtoms=name, filenameOutput="out.mrc", algorithm="multislice",
        interpolationFactorX=1, interpolationFactorY=1, numThreads=1, numGPUs=0, numFP=1,
        cellDimX=x, cellDimY=y, cellDimZ=z, tileX=1, tileY=1, tileZ=1,
        realspacePixelSizeX=x / task["pixels"], realspacePixelSizeY=y / task["pixels"],
        sliceThickness=task["slice"], E0=task["volts"], probeSemiangle=task["alpha"],
        probeStepX=0.2, probeStepY=0.2, scanWindowXMin=0.0, scanWindowXMax=0.01 / x,
        scanWindowYMin=0.0, scanWindowYMax=(0.2 * (probes - 1) + 0.05) / y,
        includeThermalEffects=True, alsoDoCPUWork=True, save2DOutput=False, save3DOutput=True,
        save4DOutput=False, randomSeed=1)
    start = time.process_time()
    meta.go()
    return time.process_time() - start

best = lambda name, probes: min(seconds(name, probes) for _ in range(task["tries"]))
seconds("thin.xyz", 1)
many, one, thin = best("thick.xyz", 5), best("thick.xyz", 1), best("thin.xyz", 1)
print()
print(json.dumps([many, one, thin]), flush=True)
"""


def prismatic_wave(python, pixels, repeats, quick):
    """Core milliseconds per slice of one further probe, and of making one slice; or why not.

    Prismatic's own multislice in its own interpreter. A probe: from the difference of five
    probes and one. A slice: from the difference of one probe through 40 slices and through 20;
    that leaves out FFT plans, files and the table of one atom's potential.
    """
    with tempfile.TemporaryDirectory() as folder:
        cells = {}
        for name, n_atoms in (("thick.xyz", N_ATOMS), ("thin.xyz", N_ATOMS // 2)):
            atoms = slab(repeats, n_atoms)
            cells[name] = atoms.cell.lengths().tolist()
            lines = [name, " ".join(f"{length:.6f}" for length in cells[name])]
            # The last character of a line is not read.
            lines += [
                f"79 {x:.6f} {y:.6f} {z:.6f} 1.0 {SETTINGS.rmsd_angstrom:.4f}0"
                for x, y, z in atoms.positions
            ]
            Path(folder, name).write_text("\n".join([*lines, "-1"]) + "\n")
        task = {
            "folder": folder,
            "cells": cells,
            "pixels": pixels,
            "slice": SLICE,
            "volts": SETTINGS.voltage_kv * 1e3,
            "alpha": SETTINGS.convergence_mrad * 1e-3,
            "tries": 1 if quick else 2,
        }
        answer = ask(python, PRISMATIC, task)
    if isinstance(answer, str):
        return answer
    many, one, thin = answer
    slices = N_ATOMS * len(SETTINGS.zone_axis_data.layers)
    wave = 1e3 * (many - one) / 4 / slices
    return wave, 1e3 * (one - thin) / (slices / 2) - wave


def wave_benchmark(options):
    """Core milliseconds per wave and slice on equal grids, alone and with the planes."""
    rows = table(
        "Core milliseconds per slice: a further wave, a plane, and a wave with its planes",
        "",
        "pixels",
        "further wave",
        "making a plane",
        "wave with\nown planes",
        f"planes shared by\n{WAVES_SHARING} (ours), 204 (peers)",
    )
    repeats, abtem = np.array([3, 2]), import_abtem()
    prismatic = options.prismatic_python
    for pixels in (256,) if options.quick else (256, 512, 1024):
        results = {"ours": ours_wave(pixels, repeats, options.quick)}
        if abtem:
            results["abTEM"] = abtem_wave(abtem, pixels, repeats, options.quick)
        if prismatic and abtem:
            results["prismatic"] = prismatic_wave(prismatic, pixels, repeats, options.quick)
        for name, result in results.items():
            if isinstance(result, str):
                console.print(f"{name}: skipped, {result}")
                prismatic = None
                continue
            wave, plane = result
            share = wave + plane / (WAVES_SHARING if name == "ours" else 204)
            numbers = (wave, plane, wave + plane, share)
            rows.add_row(name, f"{pixels}²", *(f"{x:.3f}" for x in numbers))
    if not (options.prismatic_python and abtem):
        console.print("prismatic: skipped, needs --prismatic-python (and ase, with abTEM)")
    console.print(rows)


# --- C: the published network --------------------------------------------------------------

NETWORK = """
import json, sys
import numpy as np
from rt_ppiscs.model import PPISCS
print(json.dumps(PPISCS().predict(np.array(json.load(sys.stdin))).tolist()))
"""


def network_curves(python):
    """Curves [Å²] of the published network for C10 = −100, 0, 100 Å and C30 = −1, 0, 1 µm.

    Shape (9, n), or None if it is not there. Its spread over aberrations is its own noise.
    """
    s = SETTINGS
    rows = [
        [79, 0, s.voltage_kv, c30, c10, s.convergence_mrad, 60, 200, s.rmsd_angstrom]
        for c10 in (-100, 0, 100)
        for c30 in (-0.001, 0, 0.001)
    ]
    answer = ask(python, NETWORK, rows)
    if isinstance(answer, str):
        console.print(f"published network: skipped, {answer}")
        return None
    return np.array(answer)


def paper_pixels_curve(n_atoms, batches):
    """Means and standard errors [Å²] of plane waves on the paper's pixels, no core correction.

    Band limit at the full Nyquist frequency; 2 × 2 cells, for the tilt average needs no more.
    """
    lengths = tuple((2 * np.array(SETTINGS.zone_axis_data.cell)).tolist())
    grid = CrystalGrid(lengths, (180, 256), 1.0, "110", (2, 2))
    specimen = make_specimen(SETTINGS, grid, core_correction=False)
    means = []
    for seed in range(batches):
        tilts, _ = sample_tilts((0.0, 90.0), np.array([0.0, 20.0]), (seed,), 0, 16)
        fractions = scatter_batch(
            grid,
            specimen,
            jax.random.key(seed),
            jnp.asarray(tilts, jnp.float32),
            jnp.array([SETTINGS.inner_mrad, SETTINGS.outer_mrad]),
            n_atoms=n_atoms,
            n_planes=n_atoms,
        )
        means.append(COLUMN_AREA * np.asarray(fractions, dtype=float)[..., 0].mean(axis=0))
    return np.mean(means, axis=0), np.std(means, axis=0, ddof=1) / math.sqrt(batches)


def network_benchmark(options):
    """PPISCS of the published network, of its grid without core correction, and converged."""
    thicknesses = np.array([1, 2, 5, 10, 20, 60])
    curves = network_curves(options.rt_ppiscs_python)
    if curves is None:
        return
    network, noise = curves.mean(axis=0), curves.std(axis=0, ddof=1)
    target = 0.01 if options.quick else 0.003
    converged = simulate(SETTINGS, target, 0, n_atoms=60)
    plain, plain_error = paper_pixels_curve(60, 6 if options.quick else 24)
    rows = table(
        "PPISCS [Å²] of the published network, its spread over C10 and C30, and ours",
        "n",
        "network ± spread",
        "paper's pixels, plain",
        "network /\nplain − 1",
        "converged",
        "network /\nconverged − 1",
    )
    for n in thicknesses:
        i = n - 1
        sigma_plain = plain_error[i] / plain[i]
        sigma_converged = converged.standard_error[i] / converged.ppiscs[i]
        rows.add_row(
            str(n),
            f"{network[i]:.5f} ± {noise[i]:.5f}",
            f"{plain[i]:.5f} ± {plain_error[i]:.5f}",
            f"{100 * (network[i] / plain[i] - 1):+.1f} ± {100 * sigma_plain:.1f} %",
            f"{converged.ppiscs[i]:.5f} ± {converged.standard_error[i]:.5f}",
            f"{100 * (network[i] / converged.ppiscs[i] - 1):+.1f} ± {100 * sigma_converged:.1f} %",
        )
    console.print(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute or two, rough numbers")
    parser.add_argument("--only", choices=["scan", "wave", "network"])
    parser.add_argument("--configurations", type=int, help="abTEM's frozen phonons (default 8)")
    parser.add_argument(
        "--supercell", type=float, default=8.4, help="edge of abTEM's supercell [Å]"
    )
    parser.add_argument(
        "--prismatic-python", metavar="PATH", help="interpreter that has pyprismatic"
    )
    parser.add_argument(
        "--rt-ppiscs-python",
        metavar="PATH",
        default=sys.executable,
        help="interpreter that has rt_ppiscs (default: this one)",
    )
    options = parser.parse_args()
    options.configurations = options.configurations or (3 if options.quick else 8)
    benchmarks = {"network": network_benchmark, "wave": wave_benchmark, "scan": scan_benchmark}
    for name, benchmark in benchmarks.items():
        if options.only in (None, name):
            benchmark(options)


if __name__ == "__main__":
    main()
