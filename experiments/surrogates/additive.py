"""Fit the default surrogate to the data set, and write what the package ships.

python -m experiments.surrogates.additive [--kernels FOLDER] [--out FILE]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.common import ROOT, provenance
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.surrogate.additive_file import save_additive
from ppiscs_jax.surrogate.additive_fit import fit_additive
from ppiscs_jax.surrogate.table import load_table

KERNELS = ROOT / "experiments" / "dataset" / "kernels"
WEIGHTS = ROOT / "ppiscs_jax" / "surrogate" / "weights" / "additive.npz"


def command(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=Path, default=KERNELS, help="folder of kernels")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file, .npz")
    given = parser.parse_args(arguments)
    files = kernel_files(given.kernels)
    model = fit_additive(load_table(files))
    about = {"kernels": [file.name for file in files], "provenance": provenance()}
    save_additive(given.out, model, json.dumps(about))
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(command())
