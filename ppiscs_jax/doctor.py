"""Check of the installation: versions, devices, and a small simulation."""

import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import numpy as np

from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.simulate import simulate
from ppiscs_jax.surrogate.predict import load_surrogate, predict

PACKAGES = ("ppiscs-jax", "jax", "jaxlib", "numpy", "scipy", "flax", "h5py", "matplotlib")
GPU_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm7-plugin")

EXTRAS = {
    "networks": "flax",
    "campaigns": "distributed",
    "slurm": "dask_jobqueue",
    "posterior": "numpyro",
    "onnx": "onnx",
    "abtem": "abtem",
}
"""Optional dependencies: the extra's name, and a module that it installs."""

NVIDIA_DEVICE = Path("/dev/nvidiactl")
"""There where Linux has a driver of NVIDIA."""

CHECKED = Settings("Au", "100", 300.0, 20.0, 60.0, 200.0, 0.085)
CHECKED_ATOMS, CHECKED_ERROR = 4, 0.05
"""The quick simulation: its thickness, and the standard error it is run to."""

MOST_DEVIATION = 4.5
"""Standard errors by which the simulation and the prediction may differ at any of the checked
thicknesses. Errors of few batches have Student's t, 15 degrees of freedom; a fault of the weights
or of the arithmetic is far larger, and chance exceeds this once in 600 times."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        text: what was found.
        problem: what is wrong and what to do about it, or None.
    """

    subject: str
    text: str
    problem: str | None = None


def diagnose() -> list[Finding]:
    """Look at the installation; takes some seconds, most of which is a small simulation.

    Never raises for what is wrong with the installation: that is what the findings say.
    """
    findings = [_versions(), *_extras()]
    devices = _attempt("devices", _devices)
    findings += [devices, _compilation_cache()]
    if devices.problem:
        skipped = "not checked, since JAX has no device to compute on"
        return [*findings, Finding("weights", skipped), Finding("simulation", skipped)]
    weights = _attempt("weights", _weights)
    findings.append(weights)
    if not weights.problem:
        findings.append(_attempt("simulation", _self_check))
    return findings


def _attempt(subject: str, look: Callable[[], Finding]) -> Finding:
    """A finding, or what went wrong in looking."""
    try:
        return look()
    except Exception as error:  # whatever is broken is what is to be reported
        said = " ".join(str(error).split())[:300] or "no message"
        return Finding(subject, "failed", f"{type(error).__name__}: {said}")


def _versions() -> Finding:
    installed = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("versions", ", ".join([system, *installed]))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extras() -> list[Finding]:
    there = {extra: importlib.util.find_spec(module) for extra, module in EXTRAS.items()}
    has = [extra for extra, spec in there.items() if spec]
    missing = [f"ppiscs-jax[{extra}]" for extra, spec in there.items() if not spec]
    text = ", ".join(has) or "none"
    if missing:
        text += f"; can be installed: {', '.join(missing)}"
    return [Finding("extras", text)]


def _devices() -> Finding:
    platforms = os.environ.get("JAX_PLATFORMS")
    plugins = [name for name in GPU_PLUGINS if _version(name)]
    try:
        devices = jax.devices()
    except (AssertionError, RuntimeError) as error:
        return Finding("devices", "none", _no_device(platforms, plugins, error))
    texts = [f"{device.device_kind} ({device.platform})" for device in devices]
    text = f"{', '.join(texts)}; memory: {_memory(devices[0])}; CPU cores: {os.cpu_count()}"
    problem = None
    if devices[0].platform == "cpu" and NVIDIA_DEVICE.exists() and platforms is None:
        problem = (
            "there is an NVIDIA driver, but JAX computes on the CPU. "
            + ("The CUDA plug-in of JAX does not start; its own messages say why: "
               "run `python -c 'import jax; jax.devices()'`."
               if plugins else "To use the GPU: pip install 'ppiscs-jax[cuda]'.")
        )  # fmt: skip
    return Finding("devices", text, problem)


def _no_device(platforms: str | None, plugins: list[str], error: Exception) -> str:
    """Say why JAX finds no device."""
    if platforms is None:
        return f"JAX does not start: {' '.join(str(error).split())[:300]}"
    reasons = []
    if any(name in platforms.lower() for name in ("cuda", "gpu")):
        if not NVIDIA_DEVICE.exists() and sys.platform.startswith("linux"):
            reasons.append("this machine has no NVIDIA GPU, or no driver for it")
        if not plugins:
            reasons.append("JAX is installed without CUDA (pip install 'ppiscs-jax[cuda]')")
    why = f": {' and '.join(reasons)}" if reasons else ""
    return (
        f"JAX_PLATFORMS={platforms} asks for a device that JAX does not find{why}. To compute on "
        "the CPU, unset JAX_PLATFORMS or set it to cpu"
    )


def _memory(device: jax.Device) -> str:
    """Memory of a device, or that of the computer for a CPU."""
    stats = device.memory_stats() or {}
    if limit := stats.get("bytes_limit"):
        return (
            f"{limit / 2**30:.1f} GiB, of which {stats.get('bytes_in_use', 0) / 2**30:.1f} in use"
        )
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return "not known"
    return f"{total / 2**30:.1f} GiB"


def _compilation_cache() -> Finding:
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not folder:
        return Finding(
            "compilation cache",
            "off; every process compiles again. To keep compiled programs, set "
            "JAX_COMPILATION_CACHE_DIR to a folder",
        )
    path = Path(folder)
    if not path.exists():
        return Finding("compilation cache", f"{folder}, which JAX makes when it is first needed")
    if not path.is_dir() or not os.access(path, os.W_OK):
        return Finding(
            "compilation cache",
            folder,
            f"JAX_COMPILATION_CACHE_DIR={folder} is not a folder that can be written to; choose "
            "another one, or unset it",
        )
    sizes = [file.stat().st_size for file in path.iterdir() if file.is_file()]
    return Finding(
        "compilation cache", f"{folder}, {len(sizes)} files, {sum(sizes) / 2**20:.0f} MiB"
    )


def _weights() -> Finding:
    start = time.perf_counter()
    model = load_surrogate()
    groups = len(model.trained_range.specimens)
    text = f"{groups} elements and zone axes, read in {time.perf_counter() - start:.1f} s"
    return Finding("weights", text)


def _self_check() -> Finding:
    """Compare the shipped weights with a simulation of a few atoms."""
    start = time.perf_counter()
    predicted = predict(CHECKED)
    simulated = simulate(CHECKED, CHECKED_ERROR, n_atoms=CHECKED_ATOMS)
    took = time.perf_counter() - start
    first = slice(CHECKED_ATOMS)
    difference = simulated.ppiscs - predicted.ppiscs[first]
    error = np.hypot(simulated.standard_error, predicted.standard_error[first])
    worst = float(np.max(np.abs(difference / error)))
    relative = float(np.max(np.abs(difference) / predicted.ppiscs[first]))
    text = (
        f"{CHECKED.element} [{CHECKED.zone_axis}], 1 to {CHECKED_ATOMS} atoms: prediction and "
        f"simulation differ by {100 * relative:.1f} %, {worst:.1f} standard errors, in {took:.1f} s"
    )
    if worst <= MOST_DEVIATION:
        return Finding("simulation", text)
    return Finding(
        "simulation",
        text,
        "the shipped weights and the simulator disagree: the installation is damaged, or this "
        "device computes wrongly; install again (pip install --force-reinstall ppiscs-jax), and "
        "compare with JAX_PLATFORMS=cpu",
    )
