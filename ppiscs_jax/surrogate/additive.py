"""The default surrogate: how much is scattered beyond each collection angle, by B-splines.

For each element and zone axis, column area times the fraction scattered beyond an angle is a
tensor-product B-spline in voltage, aperture, rmsd, collection angle and thickness. Its
coefficients fall with the angle, and B-splines are nowhere negative: so cross-sections of
detectors, differences of two angles, are additive and positive, and aberrations are not there.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ppiscs_jax.constants import interaction_angstrom, wavelength_angstrom
from ppiscs_jax.crystal import repeat_angstrom, specimen_of
from ppiscs_jax.settings import DETECTOR, LARGEST_MRAD, Column
from ppiscs_jax.surrogate.error_model import ErrorModel, error_modes
from ppiscs_jax.surrogate.ranges import TrainedRange
from ppiscs_jax.surrogate.splines import SplineAxis
from ppiscs_jax.types import Scalar

Inputs = Float[Array, " 9"]
"""The nine numbers of `Settings.to_vector`, in its order and units."""

EXACT = jax.lax.Precision.HIGHEST
"""GPUs would round products to three digits: detectors are differences of larger numbers."""

ERROR = ErrorModel(level=2.2e-3, width_power=-0.5, aperture_power=-0.45, curve_power=0.82)
"""Adjusted to all simulations of experiments/fresh_check but those of specimens.npz."""

VOLTAGE_GAP = 0.03
"""Relative error in the middle between two voltages, over their logarithms' difference cubed; from
simulations at 70, 90 and 250 kV (experiments/fresh_check, between_voltages.npz)."""


REFERENCE_KV, REFERENCE_MRAD = 120.0, 26.0
"""Voltage and aperture at which places on the axis of angles are the angles themselves, far from
the aperture."""

REACH_MRAD = 50.0
"""So far outside of the aperture, places change from those of Bragg discs to Laue zones'."""

PAST_ZONE, FALL_MRAD = 1.03, 160.0
"""From this multiple of the first Laue zone's angle on, places go back to the angles themselves,
over so many mrad or up to LARGEST_MRAD."""


def along_angle(
    angle_mrad: Float[Array, "*some"],
    voltage_kv: Scalar,
    convergence_mrad: Scalar,
    repeat_angstrom: Scalar,
) -> Float[Array, "*some"]:
    """Place of a collection angle on its axis [mrad], increasing with the angle.

    What scatters sharply has the same place at all voltages and apertures there, and can be
    interpolated. Beside the aperture these are the discs of Bragg reflections, whose distance from
    the aperture's edge is proportional to λ; then the ring of the first Laue zone, at
    √(2λ / `repeat_angstrom`) for planes that repeat after that length [Å]. Directions in which
    Kikuchi lines meet stay at the same angles, and most of them lie further out.
    """
    wavelength = wavelength_angstrom(voltage_kv)
    ratio = wavelength_angstrom(REFERENCE_KV) / wavelength
    past = PAST_ZONE * 1e3 * jnp.sqrt(2 * wavelength / repeat_angstrom)
    fall = _smooth_step((angle_mrad - past) / jnp.minimum(FALL_MRAD, LARGEST_MRAD - past))
    far = angle_mrad * (1 + (jnp.sqrt(ratio) - 1) * (1 - fall))
    beside = REFERENCE_MRAD + (angle_mrad - convergence_mrad) * ratio
    outside = _smooth_step((angle_mrad - convergence_mrad) / REACH_MRAD)
    return jnp.where(
        angle_mrad < convergence_mrad,
        angle_mrad * REFERENCE_MRAD / convergence_mrad,
        beside + (far - beside) * outside,
    )


def _smooth_step(x: Float[Array, "*some"]) -> Float[Array, "*some"]:
    x = jnp.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def along_voltage(voltage_kv: Float[Array, "*some"]) -> Float[Array, "*some"]:
    """Coordinate of a voltage on its axis: −(γλ)² [Å²], in which single scattering is linear."""
    return -jnp.square(interaction_angstrom(voltage_kv))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AdditiveModel:
    """PPISCS of all groups, a group being an element and a zone axis. A pytree.

    Methods are pure and compiled: jit, vmap and grad apply. They take one vector of nine
    numbers, and give NaN for elements, zone axes and numbers outside what the model was made
    for, and for thicknesses that were not simulated.

    Attributes:
        scattered: coefficients of the cross-section scattered beyond an angle, mean over the
            aperture, without the unscattered beam [Å²].
        unscattered: coefficients of column area times the fraction left in the unscattered
            beam, by ring of tilts [Å²]; along thickness the values themselves, which come near 0
            too sharply for splines.
        thickness: weights of the coefficients along the last axis at 1, 2, … atoms. Of groups with
            no more atoms than coefficients these are the values at 1, 2, … atoms themselves.
        atomic_numbers, zone_codes, thickest: of the groups; thickest [atoms per column].
        voltage, aperture, rmsd, angle: axes, in Å² (see `along_voltage`), mrad², fractions of the
            group's range, mrad (see `along_angle`).
        column_area: projected area per column of each group [Å²]; nothing exceeds it.
        rmsd_ends: smallest and largest rmsd of each group [Å].
        ring_edges_mrad: of the rings of tilts, from 0.
        voltages_kv: that were simulated; in between, errors are larger.
        trained_range: outside of it, predictions are NaN.
    """

    kind: ClassVar[str] = "additive"
    gathers: ClassVar[bool] = True

    def __repr__(self) -> str:
        return f"AdditiveModel({self.trained_range.names()})"

    scattered: Float[Array, "groups voltages apertures rmsd angles k"]
    unscattered: Float[Array, "groups voltages rmsd rings n"]
    thickness: Float[Array, "k n"]
    atomic_numbers: Int[Array, " groups"]
    zone_codes: Int[Array, " groups"]
    thickest: Int[Array, " groups"]
    voltage: SplineAxis
    aperture: SplineAxis
    rmsd: SplineAxis
    angle: SplineAxis
    column_area: Float[Array, " groups"]
    rmsd_ends: Float[Array, "groups 2"]
    ring_edges_mrad: Float[Array, " edges"]
    voltages_kv: Float[Array, " voltages"]
    trained_range: TrainedRange = field(metadata={"static": True})

    @jax.jit
    def curve(self, x: Inputs) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms."""
        x = jnp.asarray(x)
        beyond = self._beyond(x, x[DETECTOR])
        return self._where_known(x, x[DETECTOR], beyond[0] - beyond[1])

    @jax.jit
    def beyond(self, x: Inputs, angles_mrad: Float[Array, " angles"]) -> Float[Array, "angles n"]:
        """Cross-section scattered beyond angles [Å²]: a detector is the difference of two.

        All detectors of one setting for little more than the price of one. The detector among
        the nine numbers does not count.
        """
        x, angles_mrad = jnp.asarray(x), jnp.asarray(angles_mrad)
        return self._where_known(x, angles_mrad, self._beyond(x, angles_mrad))

    @jax.jit
    def sensitivity_curve(
        self, x: Inputs, edges_mrad: Float[Array, " edges"], sensitivity: Float[Array, " bins"]
    ) -> Float[Array, " n"]:
        """PPISCS [Å²] of a detector whose radial sensitivity is constant between edges.

        The detector among the nine numbers does not count.
        """
        x, edges_mrad = jnp.asarray(x), jnp.asarray(edges_mrad)
        beyond = self._beyond(x, edges_mrad)
        curve = jnp.asarray(sensitivity) @ (beyond[:-1] - beyond[1:])
        return self._where_known(x, edges_mrad, curve)

    @jax.jit
    def standard_error(
        self, x: Inputs, curve: Float[Array, " n"] | None = None
    ) -> Float[Array, " n"]:
        """Standard error of `curve` [Å²]: noise of the simulations, and of interpolating them.

        That of `error_model.ErrorModel`, more for less thickness, as the batches of the
        simulations have it on average; calibrated on simulations that were not trained on.
        Errors at different thicknesses are strongly correlated: see `error_modes`. Where the curve
        is known already, it need not be computed again.
        """
        x = jnp.asarray(x)
        known = self.curve(x) if curve is None else curve
        return ERROR.standard_error(x, known, self._between_voltages(x[Column.VOLTAGE_KV]))

    @jax.jit
    def error_modes(
        self, x: Inputs, standard_error: Float[Array, " n"] | None = None
    ) -> Float[Array, "modes n"]:
        """Modes of the error of `curve` [Å²], smooth along thickness.

        The sum of their outer products is the covariance of the errors at all thicknesses, the
        sum of their squares that of `standard_error`. Fits add it to the errors of a measured
        curve.
        """
        return error_modes(self.standard_error(x) if standard_error is None else standard_error)

    @jax.jit
    def covariance(self, x: Inputs) -> Float[Array, "n n"]:
        """Covariance of the errors of `curve` at all thicknesses [Å⁴], of rank MODES."""
        modes = self.error_modes(x)
        return jnp.matmul(modes.T, modes, precision=EXACT)

    def _between_voltages(self, voltage_kv: Scalar) -> Float[Array, ""]:
        """Relative error of interpolating between voltages that were simulated."""
        nodes = self.voltages_kv
        after = jnp.clip(jnp.searchsorted(nodes, voltage_kv), 1, len(nodes) - 1)
        low, gap = jnp.log(nodes[after - 1]), jnp.log(nodes[after] / nodes[after - 1])
        way = (jnp.log(voltage_kv) - low) / gap
        return VOLTAGE_GAP * gap**3 * 4 * jnp.abs(way * (1 - way))

    def _group(self, x: Inputs) -> Int[Array, ""]:
        """Index of the group; 0 if there is none."""
        same = (self.atomic_numbers == x[Column.ELEMENT]) & (self.zone_codes == x[Column.ZONE_AXIS])
        return jnp.argmax(same).astype(jnp.int32)

    def _rmsd_fraction(self, group: Int[Array, ""], rmsd_angstrom: Scalar) -> Float[Array, ""]:
        """Position of an rmsd between the ends of a group's range, 0 to 1."""
        low, high = self.rmsd_ends[group]
        return (rmsd_angstrom - low) / (high - low)

    def _beyond(self, x: Inputs, angles_mrad: Float[Array, " angles"]) -> Float[Array, "angles n"]:
        """Cross-section scattered beyond angles [Å²], for all thicknesses and settings."""
        group = self._group(x)
        voltage, convergence = x[Column.VOLTAGE_KV], x[Column.CONVERGENCE_MRAD]
        squared = jnp.square(convergence)
        v, of_voltage = self.voltage.near(along_voltage(voltage))
        a, of_aperture = self.aperture.near(squared)
        r, of_rmsd = self.rmsd.near(self._rmsd_fraction(group, x[Column.RMSD_ANGSTROM]))
        k = self.thickness.shape[0]
        first = jnp.int32(0)
        around = jnp.einsum("i,j,k->ijk", of_voltage, of_aperture, of_rmsd)
        sizes = (1, *around.shape, self.angle.degree + 1, k)

        def scattered(angle: Scalar) -> Float[Array, " k"]:
            t, of_angle = self.angle.near(angle)
            near = jax.lax.dynamic_slice(self.scattered, (group, v, a, r, t, first), sizes)
            weights = jnp.einsum("ijk,t->ijkt", around, of_angle).ravel()
            return jnp.matmul(weights, near.reshape(weights.size, k), precision=EXACT)

        # Tilts inside the aperture and beyond the angle, as an area of each ring.
        edges = jnp.square(self.ring_edges_mrad)
        low = jnp.maximum(edges[:-1], jnp.square(angles_mrad)[:, None])
        area = jnp.maximum(jnp.minimum(edges[1:], squared) - low, 0) / squared
        window = (1, len(of_voltage), len(of_rmsd), *self.unscattered.shape[3:])

        def direct() -> Float[Array, "angles n"]:
            near = jax.lax.dynamic_slice(self.unscattered, (group, v, r, first, first), window)
            weights = jnp.einsum("i,j,ar->aijr", of_voltage, of_rmsd, area)
            weights = weights.reshape(len(angles_mrad), -1)
            return jnp.matmul(weights, near.reshape(weights.shape[1], -1), precision=EXACT)

        specimens = self.trained_range.specimens
        repeats = jnp.array([repeat_angstrom(*specimen_of(*codes)) for codes in specimens])
        along = along_angle(angles_mrad, voltage, convergence, repeats[group])
        curves = self._along_thickness(group, jax.vmap(scattered)(along))
        # Most detectors lie outside the aperture, and need not look at the unscattered beam.
        curves += jax.lax.cond(jnp.any(area > 0), direct, lambda: jnp.zeros_like(curves))
        return jnp.minimum(curves, self.column_area[group])

    def _along_thickness(
        self, group: Int[Array, ""], coefficients: Float[Array, "angles k"]
    ) -> Float[Array, "angles n"]:
        k, n = self.thickness.shape
        own = jnp.pad(coefficients[:, :n], [(0, 0), (0, max(0, n - k))])
        fitted = jnp.matmul(coefficients, self.thickness, precision=EXACT)
        return jnp.where(self.thickest[group] <= k, own, fitted)

    def _where_known(
        self, x: Inputs, angles_mrad: Float[Array, " angles"], curves: Float[Array, "*curves n"]
    ) -> Float[Array, "*curves n"]:
        group = self._group(x)
        atoms = jnp.arange(1, curves.shape[-1] + 1)
        trained = self.trained_range
        inside = trained.holds_specimen(x) & trained.holds_angles(angles_mrad)
        return jnp.where(inside & (atoms <= self.thickest[group]), curves, jnp.nan)


def trained_range(
    atomic_numbers: Array,
    zone_codes: Array,
    voltages_kv: Array,
    rmsd_ends: Array,
    aperture: SplineAxis,
    angle: SplineAxis,
) -> TrainedRange:
    """The range of a model with these attributes."""
    specimens = zip(np.asarray(atomic_numbers), np.asarray(zone_codes), strict=True)
    rmsd = np.asarray(rmsd_ends, float).round(7)
    voltages = np.asarray(voltages_kv, float)
    return TrainedRange(
        specimens=tuple((int(number), int(code)) for number, code in specimens),
        limits={
            "voltage_kv": (float(voltages[0]), float(voltages[-1])),
            "convergence_mrad": tuple(np.sqrt(aperture.ends).tolist()),
            "inner_mrad": angle.ends,
            "outer_mrad": angle.ends,
            "rmsd_angstrom": (float(rmsd.min()), float(rmsd.max())),
        },
        rmsd_angstrom=tuple(map(tuple, rmsd.tolist())),
    )
