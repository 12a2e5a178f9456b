"""A campaign of eight tasks that take a second each, most of it to compile."""

from pathlib import Path

import numpy as np

from ppiscs_jax.campaign.config import Campaign

SMALL = {
    "seed": 5,
    "elements": ["Al", "Ni"],
    "zone_axes": ["100"],
    "voltages_kv": [60, 300],
    "rmsd_angstrom": [0.08, 0.12],
    "rings_mrad": [0, 12, 17.5, 22, 26],
    "kept_rings_mrad": [0, 17.5, 22, 26],
    "angles": [{"to_mrad": 100, "step_mrad": 2}],
    "lattice_mrad": 20,
    "band": 0.7,
    "detectors_mrad": [[45, 90]],
    "noise": [{"convergence_mrad": 20, "limit": 0.1}],
    "n_atoms": {"100": 5},
}


def small_campaign(**changes) -> Campaign:
    return Campaign.model_validate(SMALL | changes)


def kernels(folder: Path) -> dict[str, bytes]:
    """The bytes of all that has the name of a finished file."""
    return {path.stem: path.read_bytes() for path in folder.glob("[!.]*.h5")}


def flip_bit(path: Path) -> None:
    """Change one bit of a kernel of the small campaign, in an array that is too small to pack."""
    content = bytearray(path.read_bytes())
    content[content.index(np.array(SMALL["kept_rings_mrad"], float).tobytes()) + 9] ^= 4
    path.write_bytes(content)


def as_toml(config: dict) -> str:
    """A config of numbers, texts, lists and tables."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in config.items())


def _value(value) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {_value(v)}' for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
