"""Made-up curves, for whatever stores, draws or prints them."""

import numpy as np

from ppiscs_jax import Curve, Settings


def made_up_curves(n_atoms: int = 87) -> list[Curve]:
    """Two detectors of one simulation: smooth curves, errors of 0.5 % and 0.3 % in two modes."""
    n = np.arange(1, n_atoms + 1)
    curves = []
    for inner, outer, scale, relative in ((60.0, 200.0, 1.0, 5e-3), (0.1, 250.0, 0.6, 3e-3)):
        ppiscs = scale * 0.02 * n**0.9 + 1 / 3e5
        error = relative * ppiscs
        curves.append(
            Curve(
                n_atoms=n,
                ppiscs=ppiscs,
                standard_error=error,
                settings=Settings(
                    "Au", "110", 300.0, 20.0, inner, outer, 0.085, mistilt_mrad=(3.0, -1.5)
                ),
                seed=7,
                waves=256,
                batches=16,
                error_modes=np.array([np.cos(0.1 * n) * error, np.sin(0.1 * n) * error]),
            )
        )
    return curves
