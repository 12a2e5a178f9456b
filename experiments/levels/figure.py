"""The figure of the study of levels, from its rows."""

from typing import Any

from matplotlib.figure import Figure

from experiments.common import tidy

MARKERS = "osD^v"


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Time of one level over that of several against the detector, a panel a case."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(3.2 * len(cases) + 0.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for panel, case in zip(panels, cases, strict=True):
        mine = [row for row in rows if row["case"] == case]
        names = list(dict.fromkeys(f"{r['inner_mrad']:g}–{r['outer_mrad']:g}" for r in mine))
        for n, marker in zip(sorted({r["n"] for r in mine}), MARKERS, strict=False):
            gains = [r["gain"] for r in mine if r["n"] == n]
            panel.plot(names, gains, marker, label=f"n = {n}")
        panel.axhline(1, color="0.5", linewidth=0.8)
        panel.set_title(case)
        panel.set_xlabel("detector [mrad]")
        panel.tick_params(axis="x", rotation=60)
        tidy(panel)
    panels[0].set_ylim(0, 1.05 * max(r["gain"] for r in rows))
    panels[0].set_ylabel("time of one level over several")
    panels[0].legend(frameon=False)
    return figure
