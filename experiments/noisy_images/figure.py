"""Wrong counts against the dose, and the calibration of the stated probabilities."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.common import tidy

SHOWN = ("library, plain", "library", "hybrid", "joint")


def draw(rows: list[dict[str, Any]], transforms: list[dict[str, Any]]) -> Figure:
    """Wrong counts of each way; wrong against stated and the PIT's tenths for the joint method.

    The last is of the particles whose settings are drawn from their priors.
    """
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    wrong, stated, tenths = figure.subplots(1, 3)
    for axes in (wrong, stated, tenths):
        tidy(axes)
    whole = [row for row in rows if row["columns"] == "all"]
    doses = sorted({row["dose_per_angstrom2"] for row in whole})

    def mean(way: str, key: str) -> list[float]:
        return [
            float(
                np.mean([r[key] for r in whole if (r["way"], r["dose_per_angstrom2"]) == (way, d)])
            )
            for d in doses
        ]

    for way in SHOWN:
        wrong.plot(doses, mean(way, "wrong_percent"), "o-", ms=4, label=way)
    wrong.plot(doses, mean("joint", "limit_percent"), "k--", lw=1, label="limit")
    wrong.set(xscale="log", xlabel="dose (e⁻/Å²)", ylabel="wrong counts (%)", ylim=(0, None))
    wrong.legend(frameon=False, fontsize=8)

    joint = [row for row in whole if row["way"] == "joint"]
    for dose in doses:
        of = [row for row in joint if row["dose_per_angstrom2"] == dose]
        x, y, e = ([r[f"{k}_percent"] for r in of] for k in ("stated", "wrong", "standard_error"))
        stated.errorbar(x, y, e, fmt="o", ms=4, lw=1, label=f"{dose:g} e⁻/Å²")
    most = max(max(r["stated_percent"], r["wrong_percent"]) for r in joint) * 1.1 + 1
    stated.plot([0, most], [0, most], "k--", lw=1)
    stated.set(xlabel="stated by the joint method (%)", ylabel="wrong (%)")
    stated.legend(frameon=False, fontsize=8)

    for dose in doses:
        of = [
            t
            for t in transforms
            if t["dose_per_angstrom2"] == dose and t["particle"].startswith("drawn")
        ]
        if not of:
            continue
        shares = np.array([[t[f"tenth_{i}"] for i in range(1, 11)] for t in of])
        error = shares.std(axis=0, ddof=1) / len(of) ** 0.5 if len(of) > 1 else None
        middles = 0.05 + np.arange(10) / 10
        tenths.errorbar(middles, shares.mean(axis=0), error, fmt="o-", ms=4, lw=1)
    tenths.axhline(0.1, color="k", ls="--", lw=1)
    tenths.set(xlabel="randomised PIT", ylabel="share of columns", ylim=(0, None), xlim=(0, 1))
    return figure
