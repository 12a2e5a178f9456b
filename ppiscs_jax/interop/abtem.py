"""abTEM, an independent multislice program: waves through it, and settings from its objects.

The only module that imports abTEM, the extra `abtem`, and only when it is used. abTEM is licensed
under GPL-3.0-or-later; nothing of it is contained in this package.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppiscs_jax.crystal import ZONE_AXES, element
from ppiscs_jax.errors import InputError, MissingExtraError, is_number, shown
from ppiscs_jax.settings import Settings

BOND_TOLERANCE = 0.1
"""Distance between two atoms that are distinct, as a fraction of the nearest-neighbour distance."""

LATTICE_TOLERANCE = 0.01
"""Accepted relative deviation of a lattice constant."""


def import_abtem() -> Any:
    """The module `abtem`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import abtem
    except ModuleNotFoundError as error:
        raise MissingExtraError(error) from error
    return abtem


def slab(
    settings: Settings, size_angstrom: np.ndarray, layers: Sequence[np.ndarray] | np.ndarray
) -> Any:
    """Atomic layers along the beam, each in the middle of a slice, as `ase.Atoms`.

    abTEM puts an atom at the limit of two slices into either of them.

    Args:
        settings: element and zone axis, whose layers have equal distances.
        size_angstrom: edges of the supercell along x and y [Å], shape (2,).
        layers: positions of the atoms of each layer, fractions of the edges, each (atoms, 2).
    """
    import_abtem()
    import ase  # comes with abTEM

    dz = settings.zone_axis_data.slice_thickness * settings.element_data.lattice_angstrom
    positions = [
        np.column_stack([np.mod(layer, 1) * size_angstrom, np.full(len(layer), (i + 0.5) * dz)])
        for i, layer in enumerate(layers)
    ]
    symbols = [settings.element] * sum(map(len, layers))
    cell = [*size_angstrom, dz * len(layers)]
    return ase.Atoms(symbols, np.concatenate(positions), cell=cell, pbc=True)


def potential(atoms: Any, n_slices: int, pixels: tuple[int, int]) -> Any:
    """Potential of equal slices in abTEM, with the scattering factors that this package uses too.

    Args:
        atoms: `ase.Atoms` or `abtem.FrozenPhonons`.
        n_slices: number of slices along the cell.
        pixels: along x and y.
    """
    # Given one thickness, abTEM makes one slice too many where it does not divide the cell exactly.
    dz = float(atoms.cell[2, 2]) / n_slices
    return import_abtem().Potential(
        atoms,
        gpts=pixels,
        slice_thickness=(dz,) * n_slices,
        parametrization="lobato",
        projection="infinite",
        device="cpu",
    )


def scattered_fractions(
    potential: Any,
    voltage_kv: float,
    tilt_mrad: np.ndarray,
    edges_mrad: np.ndarray,
    axis_mrad: Sequence[float] | np.ndarray = (0.0, 0.0),
) -> np.ndarray:
    """Fractions of a tilted plane wave that abTEM scatters into bins of collection angle.

    Args:
        potential: the specimen, one configuration.
        voltage_kv: accelerating voltage [kV].
        tilt_mrad: tilt of the incident plane wave on the small-angle scale [mrad], shape (2,).
        edges_mrad: increasing edges of the bins [mrad].
        axis_mrad: direction of the optical axis, the centre of the detector [mrad].

    Returns:
        Shape (bins,).
    """
    abtem = import_abtem()
    energy_ev = 1e3 * voltage_kv
    # abTEM tilts by the tangent of an angle.
    tilt = tuple((1e3 * np.arctan(1e-3 * np.asarray(tilt_mrad))).tolist())
    incident = abtem.PlaneWave(energy=energy_ev, tilt=tilt, device="cpu")
    # FFTW would first spend minutes on measuring how to transform grids of some sizes.
    with abtem.config.set({"fft": "numpy"}):
        exit_wave = incident.multislice(potential).compute(progress_bar=False).array
    # In float64: a histogram's running sum would lose the weak high-angle scattering.
    spectrum = np.fft.fft2(np.squeeze(exit_wave).astype(complex))
    intensity = np.abs(spectrum / spectrum.size) ** 2
    # Its spectrum is centred on the tilted beam. Its angles are λk, as ours.
    mrad = 1e3 * abtem.core.energy.energy2wavelength(energy_ev)
    x, y = (
        mrad * np.fft.fftfreq(n, step) + tilted - centre
        for n, step, tilted, centre in zip(
            potential.gpts, potential.sampling, tilt_mrad, axis_mrad, strict=True
        )
    )
    return np.histogram(np.hypot(x[:, None], y), edges_mrad, weights=intensity)[0]


def settings_from_abtem(
    atoms: Any,
    probe: Any,
    detector: Any,
    *,
    rmsd_angstrom: float | None = None,
    temperature_k: float | None = None,
    zone_axis: str | None = None,
) -> Settings:
    """Settings of a simulation that is set up in abTEM.

    Angles of abTEM are on the small-angle scale, mrad ≡ 1000 λk, as those of this package. Its
    aberrations but C10 and C30 are left out: PPISCS does not depend on any.

    Args:
        atoms: `ase.Atoms` of an fcc crystal of one element at its ideal sites, the beam along z.
        probe: `abtem.Probe` with a circular aperture, not tilted.
        detector: `abtem.AnnularDetector`, centred, with an outer angle.
        rmsd_angstrom, temperature_k: root-mean-square displacement per axis [Å], or the
            temperature [K] from which it follows. In abTEM, the `sigmas` of `FrozenPhonons` are
            displacements per axis from version 1.0.8.
        zone_axis: "100", "110" or "111". Default: seen from the directions of nearest neighbours,
            and the lattice constant must then be that of this package to 1 %.

    Raises:
        InputError: naming what the settings cannot express, or what cannot be determined.

    Example:
        >>> import abtem
        >>> import ase.build
        >>> import ppiscs_jax as pp
        >>> atoms = ase.build.bulk("Au", cubic=True)
        >>> probe = abtem.Probe(energy=300e3, semiangle_cutoff=20)
        >>> detector = abtem.AnnularDetector(inner=60, outer=200)
        >>> settings = pp.settings_from_abtem(atoms, probe, detector, temperature_k=293)
        >>> settings.element, settings.zone_axis, settings.voltage_kv
        ('Au', '100', 300.0)
    """
    abtem = import_abtem()
    import ase  # comes with abTEM

    kinds = {
        "atoms": (atoms, ase.Atoms),
        "probe": (probe, abtem.Probe),
        "detector": (detector, abtem.AnnularDetector),
    }
    problems = [
        f"{name} = {shown(value)}: must be {kind.__module__.split('.')[0]}.{kind.__name__}"
        for name, (value, kind) in kinds.items()
        if not isinstance(value, kind)
    ]
    if problems:
        raise InputError(problems)
    problems = _microscope_problems(abtem, probe, detector)
    symbols = sorted(set(atoms.get_chemical_symbols()))
    if len(symbols) != 1:
        problems.append(f"atoms: must be of one element, not {shown(symbols)}")
    elif zone_axis is None:
        try:
            zone_axis = _zone_axis(atoms, symbols[0])
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return Settings(
        element=symbols[0],
        zone_axis=zone_axis,  # type: ignore[arg-type]
        voltage_kv=1e-3 * probe.energy,
        convergence_mrad=probe.semiangle_cutoff,
        inner_mrad=detector.inner,
        outer_mrad=detector.outer,
        rmsd_angstrom=rmsd_angstrom,
        temperature_k=temperature_k,
        c30_mm=1e-7 * probe.aberrations.C30,
        c10_angstrom=probe.aberrations.C10,
    )


def _microscope_problems(abtem: Any, probe: Any, detector: Any) -> list[str]:
    """What of a probe and a detector the settings do not have."""
    problems = []
    if not is_number(probe.energy):
        problems.append(f"probe.energy = {shown(probe.energy)}: must be a number [eV]")
    if type(probe.aperture) is not abtem.transfer.Aperture:
        problems.append(
            f"probe.aperture = {type(probe.aperture).__name__}: must be the circular Aperture"
        )
    tilt = abtem.tilt.validate_tilt(probe.tilt)
    if tilt.ensemble_shape or any(value != 0 for value in tilt.metadata.values()):
        problems.append(
            "probe.tilt: must be (0, 0); give mistilt_mrad to Settings, along the edges of the "
            "projected cell"
        )
    for name in ("C10", "C30"):
        if not is_number(value := getattr(probe.aberrations, name)):
            problems.append(f"probe.aberrations.{name} = {shown(value)}: must be a number [Å]")
    if detector.outer is None:
        problems.append("detector.outer = None: must be given [mrad]")
    if detector.offset is not None and np.any(detector.offset):
        problems.append(f"detector.offset = {shown(detector.offset)}: must be (0, 0)")
    return problems


def _zone_axis(atoms: Any, symbol: str) -> str:
    """The zone axis along z, from the directions of the twelve nearest neighbours.

    Raises:
        InputError: it cannot be determined, or the lattice constant differs.
    """
    from ase.neighborlist import neighbor_list

    hint = "give zone_axis"
    a = element(symbol).lattice_angstrom
    # Up to halfway between nearest neighbours, at a/√2, and the next ones, at a.
    atom, vectors = neighbor_list("iD", atoms, 0.85 * a)
    neighbours = np.bincount(atom, minlength=1)
    inner = int(np.argmax(neighbours == 12))
    if neighbours[inner] != 12:
        raise InputError(f"atoms: none has the twelve neighbours of fcc {symbol}; {hint}")
    bonds = vectors[atom == inner]
    lengths = np.linalg.norm(bonds, axis=1)
    lattice = float(np.sqrt(2) * lengths.mean())
    if abs(lattice - a) > LATTICE_TOLERANCE * a:
        raise InputError(
            f"atoms: their lattice constant is {lattice:.4g} Å, that of {symbol} in this package "
            f"{a:.4g} Å; {hint} to simulate the latter"
        )
    # Every atom of a single crystal has the same neighbours, unless it lies at a surface.
    apart = np.min([np.linalg.norm(vectors - bond, axis=1) for bond in bonds], axis=0)
    if np.max(apart) > BOND_TOLERANCE * lengths.mean():
        raise InputError(f"atoms: are not a single fcc crystal at its ideal sites; {hint}")
    along_beam = np.sort(np.abs(bonds[:, 2]) / lengths)
    for name in ZONE_AXES:
        if np.allclose(along_beam, _along(name), atol=BOND_TOLERANCE / 2):
            return name
    raise InputError(f"atoms: z is none of the zone axes {', '.join(ZONE_AXES)}; {hint}")


def _along(zone_axis: str) -> np.ndarray:
    """|cos| of the angles between a zone axis and the nearest neighbours, sorted, shape (12,)."""
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    bonds = [np.insert(pair, zero, 0) for zero in range(3) for pair in signs]
    axis = np.array([int(digit) for digit in zone_axis])
    return np.sort(np.abs(bonds @ axis) / np.sqrt(2 * axis @ axis))
