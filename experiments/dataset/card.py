"""The tables of the data card: noise, density of nodes and cost of a packed data set.

python -m experiments.dataset.card FOLDER_OF_PACKED_FILES --campaign FOLDER --out CARD.md
"""

import argparse
from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from experiments.common import provenance
from ppiscs_jax.campaign.folder import read_log
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.files import replacing
from ppiscs_jax.io.kernels import load_kernels
from ppiscs_jax.simulation.kernel import ScatteringKernel, noise

APERTURES_MRAD = (17.5, 20.0, 30.0, 35.5)
WIDE_MRAD = ((45.0, 160.0), (60.0, 200.0))
NARROW_MRAD = ((40.0, 50.0), (60.0, 70.0), (100.0, 110.0), (150.0, 160.0), (190.0, 200.0))
LEFT_OUT_APERTURE_MRAD = 20.0

Nodes = dict[float, ScatteringKernel]


def cost_of(seconds: list[float | None]) -> str:
    """What kernels took, as far as a campaign's log says it."""
    known = [s for s in seconds if s is not None]
    if not known:
        return ""
    return (
        f"Cost of {len(known)} of these {len(seconds)} kernels: {sum(known) / 3600:.2f} core-hours."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--campaign", type=Path, help="folder of the campaign, for its log")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    costs: dict[str, float] = {}
    for entry in read_log(given.campaign) if given.campaign else []:
        costs[entry["task"]] = costs.get(entry["task"], 0) + entry["cpu_s"]
    noises, narrow, left_out, known = [], [], [], []
    # Files of one element and zone axis, such as Au_110 and Au_110_added, follow each other.
    for _, files in groupby(kernel_files(given.folder), lambda file: file.stem.split("_")[:2]):
        by_voltage: dict[float, Nodes] = {}
        for name, kernel in chain.from_iterable(load_kernels(f).items() for f in files):
            by_voltage.setdefault(kernel.voltage_kv, {})[kernel.rmsd_angstrom] = kernel
            known.append(costs.get(name))
        for voltage, nodes in sorted(by_voltage.items()):
            place = f"{kernel.element} | {kernel.zone_axis} | {voltage:g}"
            noises.append(_noise_row(place, nodes, APERTURES_MRAD, WIDE_MRAD))
            narrow.append(_noise_row(place, nodes, (20.0,), NARROW_MRAD))
            left_out.append(_left_out_row(place, nodes))
    versions = provenance("h5py")["versions"]
    with replacing(given.out) as temporary:
        temporary.write_text(_page(noises, narrow, left_out, known, versions), encoding="utf-8")


def _noise_row(place: str, nodes: Nodes, apertures: Sequence[float], detectors: Sequence) -> str:
    """Noise of the noisiest node [1e-3], for apertures and detectors."""
    worst = [
        max(noise(kernel, aperture, *detector) for kernel in nodes.values())
        for aperture in apertures
        for detector in detectors
    ]
    waves = [k.waves for k in nodes.values()]
    cells = " | ".join(f"{1e3 * w:.2f}" for w in worst)
    return f"| {place} | {cells} | {min(waves)}–{max(waves)} |"


def _left_out_row(place: str, nodes: Nodes) -> str:
    """The middle node of rmsd from all others: error over its standard error, means over n."""
    ordered = np.array(sorted(nodes))
    middle = len(ordered) // 2
    others = np.delete(ordered, middle)
    weights = [np.prod([(ordered[middle] - b) / (a - b) for b in others if b != a]) for a in others]
    cells = []
    for detector in WIDE_MRAD:
        curves = [nodes[r].curve(LEFT_OUT_APERTURE_MRAD, *detector) for r in ordered]
        difference = np.insert(weights, middle, -1.0)
        error = np.abs(difference @ [c.ppiscs for c in curves])
        standard_error = np.sqrt(difference**2 @ [c.standard_error**2 for c in curves])
        cells.append(f"{error.mean() / standard_error.mean():.1f}")
    return f"| {place} | " + " | ".join(cells) + " |"


def _page(
    noises: list[str],
    narrow: list[str],
    left_out: list[str],
    known: list[float | None],
    versions: dict,
) -> str:
    def table(columns: list[str], rows: list[str]) -> str:
        heads = ["element", "zone axis", "kV", *columns]
        return "\n".join(["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *rows])

    wide = [f"α {a:g}, {lo:g}–{hi:g}" for a in APERTURES_MRAD for lo, hi in WIDE_MRAD]
    parts = [
        "# Tables of the data card",
        "Made by `experiments/dataset/card.py`; what it all means stands in README.md.",
        f"Versions: {', '.join(f'{k} {v}' for k, v in versions.items())}.",
        cost_of(known),
        "## Noise",
        "Mean standard error over thickness, over the curve's maximum, in 1e-3; of the noisiest "
        "rmsd node. Angles in mrad. Last column: waves of a kernel.",
        table([*wide, "waves"], noises),
        "## Noise of 10-mrad detectors",
        "The same for α = 20 mrad.",
        table([*(f"{lo:g}–{hi:g}" for lo, hi in NARROW_MRAD), "waves"], narrow),
        "## Leaving out a node",
        "The middle rmsd node from all others by a polynomial, at α = 20 mrad: mean |error| over "
        "the mean of its standard error, which combines the node's and the interpolation's. Pure "
        "noise gives 0.8 on average; thicknesses are correlated, so that single rows scatter. "
        "(Leaving out another inner node gives the same numbers: all are the same difference.)",
        table([f"{lo:g}–{hi:g}" for lo, hi in WIDE_MRAD], left_out),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


if __name__ == "__main__":
    main()
