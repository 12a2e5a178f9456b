"""Inspect and verify files of kernels, and pack finished campaigns."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from ppiscs_jax.campaign.folder import read_campaign, state, task_path
from ppiscs_jax.errors import InputError
from ppiscs_jax.io.kernels import SUFFIXES, each_kernel, pack_kernels, read_kernels
from ppiscs_jax.simulation.kernel import ScatteringKernel, noise

USUAL_DETECTORS_MRAD = ((45.0, 160.0), (60.0, 200.0))
"""Detectors for which the noise is reported where they lie inside the kernel."""


@dataclass(frozen=True)
class Contents:
    """Kernels of one element and zone axis.

    Attributes:
        element, zone_axis, voltages_kv, rmsd_angstrom: what was simulated.
        kernels: their number.
        n_atoms: largest thickness [atoms per column].
        convergence_mrad: smallest and largest aperture that they serve [mrad].
        outer_mrad: largest collection angle [mrad].
        waves: fewest and most waves of a kernel.
        noise: largest noise at smallest and largest aperture and the usual detectors (see
            `kernel.noise`).
        versions: of this package, by which they were made.
    """

    element: str
    zone_axis: str
    voltages_kv: tuple[float, ...]
    rmsd_angstrom: tuple[float, ...]
    kernels: int
    n_atoms: int
    convergence_mrad: tuple[float, float]
    outer_mrad: float
    waves: tuple[int, int]
    noise: float
    versions: tuple[str, ...]


def kernel_files(path: str | Path) -> list[Path]:
    """The file, or the files of kernels in the folder.

    Raises:
        InputError: there are none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    files = sorted(p for s in SUFFIXES for p in path.glob(f"[!.]*{s}"))
    if not files:
        raise InputError(f"{path}: " + ("no kernels in it" if path.is_dir() else "no such file"))
    return files


def contents(path: str | Path) -> list[Contents]:
    """Contents of a file or folder by element and zone axis.

    Raises:
        InputError: a file is damaged, or there is none.
    """
    groups: dict[tuple[str, str], list[tuple]] = {}
    for file in kernel_files(path):
        for _, metadata, kernel in each_kernel(file):
            key = (kernel.element, kernel.zone_axis)
            groups.setdefault(key, []).append((*_facts(kernel), metadata["package_version"]))
    return [_contents(*key, facts) for key, facts in groups.items()]


def _facts(kernel: ScatteringKernel) -> tuple:
    apertures = tuple(map(float, kernel.ring_edges_mrad[[1, -1]]))
    outer = float(kernel.angle_edges_mrad[-1])
    noises = []
    for aperture, detector in product(apertures, USUAL_DETECTORS_MRAD):
        # Detectors that end outside the kernel or inside wide bins are left out.
        # Where nothing reaches one, its noise is not known.
        with suppress(InputError), np.errstate(divide="ignore", invalid="ignore"):
            noises.append(noise(kernel, aperture, *detector))
    n = len(kernel.n_atoms)
    worst = _largest(noises)
    return kernel.voltage_kv, kernel.rmsd_angstrom, n, apertures, outer, kernel.waves, worst


def _largest(noises: Iterable[float]) -> float:
    """The largest of those that are known."""
    return max((noise for noise in noises if np.isfinite(noise)), default=np.nan)


def _contents(element: str, zone_axis: str, facts: Sequence[tuple]) -> Contents:
    voltages, rmsd, n, apertures, outer, waves, noises, versions = zip(*facts, strict=True)
    return Contents(
        element=element,
        zone_axis=zone_axis,
        voltages_kv=tuple(sorted(set(voltages))),
        rmsd_angstrom=tuple(sorted(set(rmsd))),
        kernels=len(facts),
        n_atoms=max(n),
        convergence_mrad=(max(a for a, _ in apertures), min(b for _, b in apertures)),
        outer_mrad=min(outer),
        waves=(min(waves), max(waves)),
        noise=_largest(noises),
        versions=tuple(sorted(set(versions))),
    )


def verify(path: str | Path) -> tuple[int, list[str]]:
    """Number of whole kernels in a file or folder, and a line on everything damaged or missing.

    Raises:
        InputError: there are no kernels.
    """
    path = Path(path)
    campaign = read_campaign(path) if path.is_dir() else None
    if campaign:
        now = state(path, tasks := campaign.tasks())
        missing = len(now.to_do) - len(now.damaged)
        lines = [f"{path}: {missing} of {len(tasks)} tasks are not finished"] if missing else []
        return len(now.finished), now.damaged + lines
    whole, problems = 0, []
    for file in kernel_files(path):
        try:
            for _ in read_kernels(file):
                whole += 1
        except InputError as error:
            problems += error.problems
    return whole, problems


def pack(folder: str | Path, out: str | Path) -> tuple[list[Path], list[str]]:
    """Pack a campaign: into one file if `out` is named like one, else one per group in a folder.

    Returns:
        The files written, and the names of groups (element and zone axis) left out of a folder
        because they are not finished.

    Raises:
        InputError: the folder holds no campaign, a kernel is damaged, `out` lies in that folder, or
            a single file was asked for and the campaign is not finished.
    """
    folder, out = Path(folder), Path(out)
    campaign = read_campaign(folder) if folder.is_dir() else None
    if campaign is None:
        raise InputError(f"{folder}: holds no campaign")
    packed = out.suffix in SUFFIXES
    if (out.parent if packed else out).resolve() == folder.resolve():
        raise InputError(f"output {out}: must be outside of {folder}, which has these kernels")
    tasks = campaign.tasks()
    now = state(folder, tasks)
    if now.damaged:
        raise InputError(now.damaged)
    missing = now.to_do
    if packed:
        if missing:
            raise InputError(f"{folder}: {len(missing)} of {len(tasks)} tasks are not finished")
        pack_kernels(out, _paths(folder, tasks))
        return [out], []
    out.mkdir(parents=True, exist_ok=True)
    unfinished = {task.group for task in missing}
    written = []
    for group in dict.fromkeys(task.group for task in tasks):
        if group not in unfinished:
            written.append(out / f"{group}.h5")
            pack_kernels(written[-1], _paths(folder, [t for t in tasks if t.group == group]))
    return written, sorted(unfinished)


def _paths(folder: Path, tasks: Iterable) -> list[Path]:
    return [task_path(folder, task) for task in tasks]
