"""Small good files of every format."""

import numpy as np

from ppiscs_jax import ScatteringKernel, Settings
from ppiscs_jax.surrogate.additive import AdditiveModel, trained_range
from ppiscs_jax.surrogate.evaluate import HeldOut
from ppiscs_jax.surrogate.network import Training
from ppiscs_jax.surrogate.splines import SplineAxis

FIT = """relative_error = 0.01
surrogate = "additive"
[nominal]
element = "Au"
zone_axis = "110"
voltage_kv = 300
convergence_mrad = 20
inner_mrad = 60
outer_mrad = 200
temperature_k = 293
[std]
inner_mrad = 2
gain = 0.2
[bounds]
outer_mrad = [190, 210]
"""

RECIPE = """seed = 1
held_out = 0.1
batch_size = 256
[network]
growth = 8
layers = 3
activation = "swish"
[[stages]]
epochs = 2.5
learning_rate = 1e-3
weights = { l1n = 1, l2n = 0, l1log = 0.1, constraint = 0 }
"""

SETTINGS = """element,zone_axis,voltage_kv,convergence_mrad,inner_mrad,outer_mrad,rmsd_angstrom
Au,110,300,20,60,200,0.085
"Pt",001,200,25,45,160,0.1
"""


def made_up_kernel(rmsd_angstrom: float = 0.085) -> ScatteringKernel:
    """Two rings, three thicknesses, six bins, four batches; what scatters grows with thickness."""
    angles = np.array([0.0, 10, 20, 45, 60, 160, 200])
    random = np.random.default_rng(0)
    fall = np.diff(1 - np.exp(-angles / 60))
    means = np.arange(1, 4)[:, None] / 4 * fall * random.normal(1, 0.02, (4, 2, 3, 6))
    return ScatteringKernel(
        element="Au",
        zone_axis="110",
        voltage_kv=300.0,
        rmsd_angstrom=rmsd_angstrom,
        mistilt_mrad=(0.0, 0.0),
        ring_edges_mrad=np.array([0.0, 10, 20]),
        angle_edges_mrad=angles,
        batch_means=means,
        lost=np.full((2, 3), 0.01, np.float32),
        seed=3,
        waves=64,
    )


def made_up_model() -> AdditiveModel:
    """Two groups; straight lines between few nodes along all axes."""
    axes = {
        "voltage": SplineAxis(np.float32([-0.003, -0.003, -0.001, -0.001]), 1),
        "aperture": SplineAxis(np.float32([300, 300, 1200, 1200]), 1),
        "rmsd": SplineAxis(np.float32([0, 0, 1, 1]), 1),
        "angle": SplineAxis(np.float32([0, 0, 0, *np.linspace(10, 240, 23), 250, 250, 250]), 2),
    }
    fall = np.exp(-np.linspace(0, 250, 26) / 60)[:, None] * np.arange(1, 4)
    scattered = np.broadcast_to(fall, (2, 2, 2, 2, 26, 3)) * np.array([1, 3.0])[:, *[None] * 5]
    specimens = np.array([13, 79]), np.array([0, 1])
    voltages, rmsd = np.float32([100, 300]), np.float32([[0.07, 0.15], [0.07, 0.15]])
    return AdditiveModel(
        trained_range=trained_range(*specimens, voltages, rmsd, axes["aperture"], axes["angle"]),
        scattered=scattered.astype(np.float32),
        unscattered=np.ones((2, 2, 2, 2, 3), np.float32),
        thickness=np.eye(3, dtype=np.float32),
        atomic_numbers=specimens[0],
        zone_codes=specimens[1],
        thickest=np.array([3, 3]),
        column_area=np.float32([5.8, 8.3]),
        rmsd_ends=rmsd,
        ring_edges_mrad=np.float32([0, 17.5, 35.5]),
        voltages_kv=voltages,
        **axes,
    )


def made_up_layers() -> dict[str, dict[str, np.ndarray]]:
    """Weights of a densely connected network of three layers, four units and five outputs."""
    random = np.random.default_rng(0)
    shapes = ((9, 4), (4, 4), (8, 5))
    return {
        f"layer_{i:02d}": {"kernel": random.normal(size=s), "bias": random.normal(size=s[1])}
        for i, s in enumerate(shapes)
    }


TRAINING = Training(((79, 0, 5),), (("voltage_kv", 60.0, 300.0),), ((0.075, 0.15),))


def made_up_held_out() -> HeldOut:
    """Two simulations, three detectors, four thicknesses."""
    x = np.empty((2, 3, 9))
    for i, (inner, outer) in enumerate(((45, 160), (60, 200), (30, 60))):
        x[:, i] = Settings("Au", "110", 300, 20, inner, outer, 0.085).to_vector()
    return HeldOut(x, np.full((2, 3, 4), 0.1), np.full((2, 3, 4), 0.001), "made up")
