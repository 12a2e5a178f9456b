"""Core milliseconds per wave and slice on equal grids: ours, abTEM, prismatic."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from peer.common import (
    CELL,
    N_ATOMS,
    SETTINGS,
    SLICE,
    WAVES_SHARING,
    abtem_potential,
    abtem_scan,
    ask,
    best_of,
    console,
    import_abtem,
    slab,
    table,
)
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import sample_tilts
from ppiscs_jax.multislice.potential import displace, transmission
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch

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
