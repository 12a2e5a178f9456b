"""Schema of the file of an additive model."""

from typing import Any

import jax
import numpy as np

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.io.schema import Numbers, Schema
from ppiscs_jax.settings import MOST_ATOMS, RANGES
from ppiscs_jax.surrogate.splines import SplineAxis

AXES = ("voltage", "aperture", "rmsd", "angle")

PARTS = ("high", "low", "basis", "angle_scale", "thickness_scale")
"""Arrays of a group, in which its coefficients are packed."""

HALF = 2**15

FIELDS = (
    "thickness",
    "atomic_numbers",
    "zone_codes",
    "thickest",
    "column_area",
    "rmsd_ends",
    "ring_edges_mrad",
    "voltages_kv",
)
"""Fields of the model that are stored as they are."""

OF_GROUPS = ("unscattered", "atomic_numbers", "zone_codes", "thickest", "column_area", "rmsd_ends")
"""Arrays with a row for each group."""

LARGEST_ANGSTROM2 = 1e3
"""Larger than any projected area of a column, which no cross-section exceeds."""

WHOLE = Schema(
    {
        "thickness": Numbers(("k", "n"), "1", -10, 10),
        "atomic_numbers": Numbers(("groups",), "1", 1, 120, kinds="iu"),
        "zone_codes": Numbers(("groups",), "1", 0, 10, kinds="iu"),
        "thickest": Numbers(("groups",), "atoms", 1, MOST_ATOMS, kinds="iu"),
        "column_area": Numbers(("groups",), "Å²", 0.1, LARGEST_ANGSTROM2),
        "rmsd_ends": Numbers(("groups", "2"), "Å", *RANGES["rmsd_angstrom"][:2], rising=True),
        "ring_edges_mrad": Numbers(
            ("rings+1",), "mrad", 0, RANGES["convergence_mrad"][1], rising=True
        ),
        "voltages_kv": Numbers(
            ("simulated voltages",), "kV", *RANGES["voltage_kv"][:2], rising=True
        ),
        "unscattered": Numbers(
            ("groups", "voltages", "rmsd", "rings", "n"), "Å²", 0, LARGEST_ANGSTROM2
        ),
        **{f"{name}_knots": Numbers((f"{name} knots",), low=-1e5, high=1e5) for name in AXES},
        **{f"{name}_degree": Numbers((), "1", 0, 5, kinds="iu") for name in AXES},
    },
    longest={"groups": 100, "k": 200, "n": MOST_ATOMS, "rings": 100, "simulated voltages": 100}
    | {f"{name} knots": 100 for name in AXES if name != "angle"}
    | {"angle knots": 1000},
)
"""Arrays that are stored as they are."""

MOST_CELLS = 1000
"""Nodes of aperture and rmsd together; transforms of them are matrices of their square."""

MOST_OF_GROUP, MOST_COEFFICIENTS = 10_000_000, 60_000_000
"""Coefficients of a group, and of all: seven times and twice those of the shipped model. What is
taken for them stays below 1 GB."""

Shape = tuple[int, ...]


def of_group(group: int, shape: Shape) -> Schema:
    """The arrays of one group of a model whose coefficients have a shape."""
    _, voltages, apertures, rmsd, angles, k = shape
    steps = Numbers(
        (str(voltages), str(apertures * rmsd), "components", str(angles)), "1", -HALF, HALF, "i"
    )
    return Schema(
        {
            f"high_{group}": steps,
            f"low_{group}": steps,
            f"basis_{group}": Numbers((str(voltages), str(k), "components"), "1", -1.01, 1.01),
            f"angle_scale_{group}": Numbers(
                (str(voltages), str(angles)), "Å²", 0, LARGEST_ANGSTROM2
            ),
            f"thickness_scale_{group}": Numbers((str(voltages), str(k)), "1", 0, 10),
        },
        longest={"components": k},
        most=2 * MOST_OF_GROUP,
    )


def axes_of(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The axes, once their knots make some.

    Raises:
        ValueError: they do not.
    """
    return {n: _axis(n, arrays[f"{n}_knots"], int(arrays[f"{n}_degree"])) for n in AXES}


def _axis(name: str, knots: np.ndarray, degree: int) -> SplineAxis:
    inner = knots[degree : len(knots) - degree]
    ends = knots[: degree + 1], knots[len(knots) - degree - 1 :]
    if len(inner) < 2 or np.any(np.diff(inner) <= 0) or any(np.ptp(end) > 0 for end in ends):
        raise ValueError(f"{name}_knots are not knots of splines of degree {degree}")
    return SplineAxis(on_device(knots), degree)


def on_device(array: np.ndarray) -> jax.Array:
    """An array of JAX in the precision of its models, without compiling a copy as `jnp.asarray`."""
    kind = np.int32 if array.dtype.kind in "iu" else np.float32
    return jax.device_put(array.astype(kind, copy=False))


def check_whole(arrays: dict[str, np.ndarray], axes: dict[str, SplineAxis]) -> Shape:
    """The shape of all coefficients, once arrays belong together and the shape is not too large.

    Raises:
        ValueError: saying what is wrong.
    """
    sizes = [axes[name].size for name in AXES]
    if arrays["unscattered"].shape[1:3] != (sizes[0], sizes[2]):
        raise ValueError("unscattered is not as long as the axes of voltage and rmsd")
    numbers, codes = arrays["atomic_numbers"].tolist(), arrays["zone_codes"].tolist()
    groups = list(zip(numbers, codes, strict=True))
    known = {(e.atomic_number, z.code) for e in ELEMENTS.values() for z in ZONE_AXES.values()}
    if len(set(groups)) < len(groups) or not set(groups) <= known:
        raise ValueError("groups are unknown, or there twice")
    if np.max(arrays["thickest"]) > arrays["thickness"].shape[1]:
        raise ValueError("thickest is larger than the number of thicknesses")
    if arrays["ring_edges_mrad"][0] != 0:
        raise ValueError("ring_edges_mrad must begin at 0")
    if len(arrays["voltages_kv"]) < 2:
        raise ValueError("fewer than two voltages")
    of_group = int(np.prod([*sizes, len(arrays["thickness"])]))
    if sizes[1] * sizes[2] > MOST_CELLS or of_group > MOST_OF_GROUP:
        raise ValueError(f"more than {MOST_OF_GROUP} coefficients of a group")
    if len(groups) * of_group > MOST_COEFFICIENTS:
        raise ValueError(f"more than {MOST_COEFFICIENTS} coefficients")
    return len(groups), *sizes, len(arrays["thickness"])
