"""Result of counting: the counts and their inputs, as a table, figures, files and a report."""

import base64
import html
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ppiscs_jax.counting.counts import Counts
from ppiscs_jax.counting.cross_sections import CrossSections
from ppiscs_jax.counting.images import AdfImage
from ppiscs_jax.files import replacing
from ppiscs_jax.inverse.record import to_plain
from ppiscs_jax.settings import VECTOR_ORDER, Settings

Figure = Any
"""A figure of Matplotlib, which is imported only where figures are drawn."""

PACKAGES = ("ppiscs-jax", "jax", "numpy", "scipy")


@dataclass(frozen=True)
class Counted:
    """The numbers of atoms of the columns of an image.

    Attributes:
        image: what was counted.
        cross_sections: of its columns.
        counts: numbers of atoms with their probabilities.
        settings: nominal settings of the microscope, or None.
        options: how it was counted, by name.
    """

    image: AdfImage
    cross_sections: CrossSections
    counts: Counts
    settings: Settings | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_atoms(self) -> Int[np.ndarray, " columns"]:
        """The most probable number of atoms of each column."""
        return self.counts.counts

    @property
    def probability(self) -> Float[np.ndarray, " columns"]:
        """The probability of each of these numbers."""
        return self.counts.probability

    def columns(self) -> dict[str, np.ndarray]:
        """The table of the columns, by the names of its columns.

        Without normalised intensities the unit of the cross-sections is that of the image's
        intensity times Å².
        """
        low, high = self.counts.interval
        positions = self.cross_sections.positions_angstrom
        unit = "_angstrom2" if self.cross_sections.normalised else "_arbitrary"
        return {
            "x_angstrom": positions[:, 0],
            "y_angstrom": positions[:, 1],
            f"ppiscs{unit}": self.cross_sections.values,
            f"standard_error{unit}": self.cross_sections.standard_error,
            "count": self.counts.counts,
            "probability": self.counts.probability,
            "count_low": low,
            "count_high": high,
            "edge": self.cross_sections.edge.astype(int),
        }

    def to_dataframe(self) -> Any:
        """The table as a pandas DataFrame; pandas must be installed."""
        import pandas

        return pandas.DataFrame(self.columns())

    def figures(self) -> dict[str, Figure]:
        """Figures by name: count_map, probability, histogram, and icl of the statistics."""
        from ppiscs_jax.plots import counting as plots  # matplotlib is slow to import

        sections, counts, chosen = self.cross_sections, self.counts, self.counts.solutions[0]
        pixels, edge = self.image.pixels, self.image.pixel_angstrom
        places = sections.positions_angstrom
        found = {
            "count_map": plots.draw_count_map(pixels, edge, places, counts.counts),
            "probability": plots.draw_probability(pixels, edge, places, counts.probability),
            "histogram": plots.draw_histogram(
                sections.values, chosen.means, chosen.n_atoms, counts.counts,
                normalised=sections.normalised,
            ),
        }  # fmt: skip
        if counts.mixtures is not None:
            components = len(chosen.n_atoms)
            found["icl"] = plots.draw_icl(counts.mixtures.icl, counts.mixtures.minima, components)
        elif len(counts.solutions) > 1:
            found["scales"] = plots.draw_scales(
                [e.gain for e in counts.solutions],
                [e.probability for e in counts.solutions],
                [e.total for e in counts.solutions],
            )
        return found

    def plot(self, path: str | Path | None = None) -> Figure:
        """The count map over the image, saved to a path (.png, .pdf, .svg) if one is given."""
        from ppiscs_jax.plots.curves import save_figure

        figure = self.figures()["count_map"]
        if path is not None:
            save_figure(figure, path)
        return figure

    def summary(self) -> dict[str, Any]:
        """Everything but the columns, as plain values for JSON."""
        sections = self.cross_sections
        return {
            "image": self.image.source,
            "shape": list(self.image.pixels.shape),
            "pixel_angstrom": self.image.pixel_angstrom,
            "normalised": self.image.normalised,
            "settings": None
            if self.settings is None
            else {
                f: v if isinstance(v := getattr(self.settings, f), str) else float(v)
                for f in VECTOR_ORDER
            },
            "options": dict(self.options),
            "columns": len(sections.values),
            "cross_sections_by": sections.by,
            "background": sections.background,
            "width_angstrom": to_plain(sections.width_angstrom),
            "method": self.counts.method,
            "total_atoms": self.counts.total,
            "solutions": [
                {
                    "name": e.name,
                    "probability": to_plain(e.probability),
                    "score": to_plain(e.score),
                    "total_atoms": e.total,
                    "gain": to_plain(e.gain),
                    "estimates": {
                        name: {"value": value, "standard_error": error}
                        for name, (value, error) in e.estimates.items()
                    },
                }
                for e in self.counts.solutions
            ],
            "versions": {p: version(p) for p in PACKAGES},
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write counts.csv, counts.json, report.html and the figures into a folder, made if needed.

        Raises:
            OSError: writing failed.
        """
        from ppiscs_jax.plots.curves import save_figure

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        figures = self.figures()
        table = self.columns()
        rows = zip(*(values.tolist() for values in table.values()), strict=True)
        lines = [",".join(table), *(",".join(f"{v:.7g}" for v in row) for row in rows)]
        content = self.summary() | {
            "table": to_plain(table),
            "n_atoms": self.counts.n_atoms.tolist(),
            "probabilities": self.counts.probabilities.round(6).tolist(),
        }
        texts = {
            "counts.csv": "\n".join(lines) + "\n",
            "counts.json": json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n",
            "report.html": self._report(figures),
        }
        written = []
        for name, text in texts.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(folder / name)
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}.png", dpi=200)
            written.append(folder / f"{name}.png")
        return written

    def _report(self, figures: Mapping[str, Figure]) -> str:
        """One page with the figures in it, and every setting and version."""
        summary = self.summary()
        solutions = summary.pop("solutions")
        parts = [
            f"<h1>{self.counts.total} atoms in {len(self.cross_sections.values)} columns</h1>",
            f"<p>{html.escape(self.image.source)}, by the method "
            f"<em>{html.escape(self.counts.method)}</em>.</p>",
        ]
        for name, figure in figures.items():
            content = io.BytesIO()
            figure.savefig(content, format="png", dpi=110)
            data = base64.b64encode(content.getvalue()).decode()
            parts.append(f'<img alt="{name}" src="data:image/png;base64,{data}">')
        parts.append("<h2>What explains the cross-sections</h2>" + _html_table(solutions))
        flat = [{"name": n, "value": _shown(v)} for n, v in summary.items() if v is not None]
        parts.append("<h2>Settings and versions</h2>" + _html_table(flat))
        return _PAGE.format(body="\n".join(parts))


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Atom counts</title><style>
body {{ font-family: sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; }}
img {{ max-width: 48%; vertical-align: top; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #ddd; padding: 0.2em 0.8em; text-align: left; }}
</style></head><body>
{body}
</body></html>
"""


def _html_table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    head = "".join(f"<th>{html.escape(n.replace('_', ' '))}</th>" for n in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_shown(row[n]))}</td>" for n in names) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        if set(value) == {"value", "standard_error"}:
            return f"{value['value']:.4g} ± {value['standard_error']:.2g}"
        return ", ".join(f"{name} {_shown(v)}" for name, v in value.items())
    if isinstance(value, float):
        return f"{value:.5g}"
    return "" if value is None else str(value)
