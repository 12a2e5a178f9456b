"""ADF-STEM scattering cross-sections (PPISCS) of fcc crystals: simulate, predict, fit."""

from importlib.metadata import version

from ppiscs_jax.curve import Curve
from ppiscs_jax.errors import InputError
from ppiscs_jax.image import simulate_image
from ppiscs_jax.kernel import ScatteringKernel
from ppiscs_jax.scan import Scan, simulate_scan
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulate import Progress, scattering_kernel, simulate
from ppiscs_jax.surrogate.predict import load_surrogate, predict

__version__ = version("ppiscs-jax")
__all__ = [
    "Curve",
    "InputError",
    "Progress",
    "Scan",
    "ScatteringKernel",
    "Settings",
    "__version__",
    "load_surrogate",
    "predict",
    "scattering_kernel",
    "simulate",
    "simulate_image",
    "simulate_scan",
]
