"""ADF-STEM scattering cross-sections (PPISCS) of fcc crystals: simulate, predict, fit, count.

Every public name can be imported from here. All but `Settings` and `InputError` are loaded when
they are first used, so that importing the package is fast.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ppiscs_jax.errors import InputError
from ppiscs_jax.settings import Settings

if TYPE_CHECKING:
    from ppiscs_jax.counting.count import count
    from ppiscs_jax.counting.detector import radial_sensitivity
    from ppiscs_jax.counting.images import AdfImage, load_image
    from ppiscs_jax.counting.methods import count_cross_sections
    from ppiscs_jax.interop.abtem import settings_from_abtem
    from ppiscs_jax.interop.cross_check import CrossCheck, cross_check
    from ppiscs_jax.inverse.batch import fit_batch
    from ppiscs_jax.inverse.bootstrap import bootstrap
    from ppiscs_jax.inverse.coverage import coverage
    from ppiscs_jax.inverse.design import best_design, error_probability_map
    from ppiscs_jax.inverse.error_probability import error_probability
    from ppiscs_jax.inverse.fit import fit
    from ppiscs_jax.inverse.measured import Measured
    from ppiscs_jax.inverse.problem import Free, Problem
    from ppiscs_jax.inverse.uncertainty import laplace, nuts, prior_samples, propagate
    from ppiscs_jax.io.curves import load_curves, save_curves
    from ppiscs_jax.io.kernels import load_kernels, save_kernels
    from ppiscs_jax.io.library import Library, load_library, save_library
    from ppiscs_jax.plots.curves import plot_curves
    from ppiscs_jax.plots.fits import plot_uncertainty
    from ppiscs_jax.progress import Progress
    from ppiscs_jax.simulation.curve import Curve
    from ppiscs_jax.simulation.gradient import simulator
    from ppiscs_jax.simulation.image import simulate_image
    from ppiscs_jax.simulation.kernel import ScatteringKernel
    from ppiscs_jax.simulation.scan import Scan, ScanOptions, simulate_scan
    from ppiscs_jax.simulation.simulate import scattering_kernel, simulate
    from ppiscs_jax.surrogate.predict import load_surrogate, predict

_MODULES = {
    "counting.count": ("count",),
    "counting.detector": ("radial_sensitivity",),
    "counting.images": ("AdfImage", "load_image"),
    "counting.methods": ("count_cross_sections",),
    "io.curves": ("load_curves", "save_curves"),
    "io.kernels": ("load_kernels", "save_kernels"),
    "io.library": ("Library", "load_library", "save_library"),
    "interop.abtem": ("settings_from_abtem",),
    "interop.cross_check": ("CrossCheck", "cross_check"),
    "inverse.batch": ("fit_batch",),
    "inverse.bootstrap": ("bootstrap",),
    "inverse.coverage": ("coverage",),
    "inverse.design": ("best_design", "error_probability_map"),
    "inverse.error_probability": ("error_probability",),
    "inverse.fit": ("fit",),
    "inverse.measured": ("Measured",),
    "inverse.problem": ("Free", "Problem"),
    "inverse.uncertainty": ("laplace", "nuts", "prior_samples", "propagate"),
    "plots.curves": ("plot_curves",),
    "plots.fits": ("plot_uncertainty",),
    "progress": ("Progress",),
    "simulation.curve": ("Curve",),
    "simulation.gradient": ("simulator",),
    "simulation.image": ("simulate_image",),
    "simulation.kernel": ("ScatteringKernel",),
    "simulation.scan": ("Scan", "ScanOptions", "simulate_scan"),
    "simulation.simulate": ("scattering_kernel", "simulate"),
    "surrogate.predict": ("load_surrogate", "predict"),
}
"""Modules of this package that are loaded when one of their names is first used."""

_HOME = {name: module for module, names in _MODULES.items() for name in names}

__version__ = version("ppiscs-jax")
__all__ = [
    "AdfImage",
    "CrossCheck",
    "Curve",
    "Free",
    "InputError",
    "Library",
    "Measured",
    "Problem",
    "Progress",
    "Scan",
    "ScanOptions",
    "ScatteringKernel",
    "Settings",
    "__version__",
    "best_design",
    "bootstrap",
    "count",
    "count_cross_sections",
    "coverage",
    "cross_check",
    "error_probability",
    "error_probability_map",
    "fit",
    "fit_batch",
    "laplace",
    "load_curves",
    "load_image",
    "load_kernels",
    "load_library",
    "load_surrogate",
    "nuts",
    "plot_curves",
    "plot_uncertainty",
    "predict",
    "prior_samples",
    "propagate",
    "radial_sensitivity",
    "save_curves",
    "save_kernels",
    "save_library",
    "scattering_kernel",
    "settings_from_abtem",
    "simulate",
    "simulate_image",
    "simulate_scan",
    "simulator",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
