"""ADF-STEM scattering cross-sections (PPISCS) of fcc crystals: simulate, predict, fit, count."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ppiscs_jax.curve import Curve
from ppiscs_jax.errors import InputError
from ppiscs_jax.image import simulate_image
from ppiscs_jax.kernel import ScatteringKernel
from ppiscs_jax.scan import Scan, simulate_scan
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulate import Progress, scattering_kernel, simulate
from ppiscs_jax.surrogate.predict import load_surrogate, predict

if TYPE_CHECKING:
    from ppiscs_jax.counting.count import count
    from ppiscs_jax.counting.images import AdfImage, read_image

__version__ = version("ppiscs-jax")
__all__ = [
    "AdfImage",
    "Curve",
    "InputError",
    "Progress",
    "Scan",
    "ScatteringKernel",
    "Settings",
    "__version__",
    "count",
    "load_surrogate",
    "predict",
    "read_image",
    "scattering_kernel",
    "simulate",
    "simulate_image",
    "simulate_scan",
]

_LATER = {
    "AdfImage": "counting.images",
    "count": "counting.count",
    "read_image": "counting.images",
}
"""Names that are imported when they are first used, and where they are."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
