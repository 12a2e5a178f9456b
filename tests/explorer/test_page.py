"""The explorer page holds the surrogate, and its JavaScript computes the same."""

import re

import numpy as np
import pytest

from ppiscs_jax import InputError, load_surrogate, predict
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.explorer.page import explorer_page, random_settings, write_page
from ppiscs_jax.surrogate.additive_file import load_additive, save_additive
from ppiscs_jax.surrogate.additive_fit import fit_additive
from tests.explorer.javascript import (
    about_of,
    needs_chromium,
    needs_node,
    open_page,
    run_javascript,
)
from tests.table_samples import made_up_table

AGREEMENT = 1e-5
"""Of the curve's maximum. Python computes in single precision: cross-sections beyond an angle are
up to a hundred times those of a detector, and are rounded to 6e-8 of themselves."""

CURVES = """
const loaded = new Map();
const rows = [];
for (const [z, zone, kv, , , aperture, inner, outer, rmsd] of data.rows) {
  const place = findGroup(data.about, { element: data.symbols[z], zone: data.zones[zone] });
  const group = data.about.groups[place];
  if (!loaded.has(place)) {
    loaded.set(place, await decodeGroup(data.about, group, data.weights[place]));
  }
  const x = { kv, aperture, inner, outer, rmsd };
  const curve = ppiscs(data.about, group, loaded.get(place), x);
  rows.push([Array.from(curve), Array.from(standardError(data.about, x, curve))]);
}
return rows;
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "made_up.npz"
    save_additive(path, fit_additive(made_up_table()), "made up")
    return path


@pytest.fixture(scope="module")
def page(weights):
    return explorer_page(surrogate=weights)


def evaluated(page, rows):
    """Curves and standard errors by JavaScript."""
    data = {
        "about": about_of(page),
        "weights": re.findall(r'id="weights-\d+">([^<]*)<', page),
        "rows": rows.astype(np.float32).tolist(),
        "symbols": {e.atomic_number: e.symbol for e in ELEMENTS.values()},
        "zones": {z.code: z.name for z in ZONE_AXES.values()},
    }
    return run_javascript(CURVES, data)


def worst_deviations(page, model, rows):
    """Largest differences of curves and standard errors, over the curve's maximum."""
    worst = np.zeros(2)
    for row, ours in zip(rows, evaluated(page, rows), strict=True):
        expected = predict(row, surrogate=model)
        known = np.isfinite(expected)
        expected = expected[known], np.asarray(model.standard_error(row.astype(np.float32)))[known]
        for i in range(2):
            deviation = np.abs(np.array(ours[i]) - expected[i]).max() / expected[0].max()
            worst[i] = max(worst[i], deviation)
    return worst


def settings_of(model, number, groups=None):
    random = np.random.default_rng(0)
    groups = np.arange(len(model.thickest)) if groups is None else groups
    rows = random_settings(model, random.choice(groups, number), random)
    # Every fourth detector begins inside the aperture.
    rows[::4, 6] = random.uniform(0, rows[::4, 5])
    return rows


@needs_node
def test_javascript_agrees_with_python(page, weights):
    """A model of other shapes than the shipped one: all of them come from the file."""
    model = load_additive(weights)
    curves, errors = worst_deviations(page, model, settings_of(model, 40))
    assert curves < AGREEMENT
    assert errors < AGREEMENT


@needs_node
def test_compact_page_states_its_error(page, weights):
    """95 % of curves keep to the reported error: of 100 all but 13, four standard deviations."""
    compact = explorer_page(compact=True, surrogate=weights)
    assert len(compact) < len(page)
    about = about_of(compact)
    model = load_additive(weights)
    rows = settings_of(model, 100)
    rows[::4] = rows[1::4]  # the error applies to detectors outside the aperture
    beyond = 0
    for row, (ours, _) in zip(rows, evaluated(compact, rows), strict=True):
        expected = predict(row, surrogate=model)[: len(ours)]
        deviation = np.abs(ours - expected).max() / expected.max()
        beyond += deviation > about["largest_rounding_error"]
    assert 0 < about["rounding_error"] < about["largest_rounding_error"]
    assert beyond <= 13


@pytest.mark.slow
@needs_node
def test_shipped_weights():
    """One zone axis of the shipped surrogate, and the size of such a page."""
    page = explorer_page(["111"])
    model = load_surrogate()
    groups = [g["index"] for g in about_of(page)["groups"]]
    assert worst_deviations(page, model, settings_of(model, 24, groups))[0] < AGREEMENT
    assert len(page.encode()) < 7e6


@pytest.mark.slow
@needs_node
def test_all_shipped_weights():
    """1000 settings of all elements and zone axes; pages are as small as they should be."""
    page = explorer_page()
    model = load_surrogate()
    curves, errors = worst_deviations(page, model, settings_of(model, 1000))
    assert curves < AGREEMENT
    assert errors < AGREEMENT
    assert len(page.encode()) < 18e6
    assert len(explorer_page(compact=True).encode()) < 5e6


def test_page_is_self_contained(page):
    """Nothing is fetched, the licence of uPlot is there, and no placeholder is left."""
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', markup)
    assert "default-src 'none'" in page
    assert "Copyright (c) 2022 Leon Sorokin" in page
    assert not re.findall(r"\{\{\w+\}\}", page)


def test_zones_and_path(tmp_path, weights):
    """One zone axis by any of its names; unknown ones and bad paths are refused."""
    about = about_of(explorer_page(["[001]"], surrogate=weights))
    assert [(g["symbol"], g["zone"]) for g in about["groups"]] == [("Au", "100")]
    with pytest.raises(InputError, match="zone_axis = '210'"):
        explorer_page(["210"], surrogate=weights)
    with pytest.raises(InputError, match="no such zone axis"):
        explorer_page(["111"], surrogate=weights)
    with pytest.raises(InputError, match=r"must end in one of \.html"):
        write_page(tmp_path / "page.txt", surrogate=weights)


@needs_chromium
def test_page_in_chromium(tmp_path, page, weights):
    """The page shows the curve of its address, and reports no error."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    address = "#el=Au&zone=100&kv=200&a=22&in=60&out=180&rmsd=0.1&dose=10000"
    document, messages = open_page(path, address)
    assert messages == []
    said = re.search(r'id="summary"[^>]*>([^<]*)<', document)[1]
    assert said.startswith("Au [100], 200 kV, α 22 mrad, 60–180 mrad, rmsd 0.1 Å")
    row = np.array([79, 1, 200, 0, 0, 22, 60, 180, 0.1])
    curve = predict(row, surrogate=load_additive(weights))
    shown = [float(value) for value in re.findall(r"([\d.]+) Å² at", said)]
    np.testing.assert_allclose(shown, curve[[0, 5, 11]], rtol=5e-3)  # three digits are shown
    assert "miscounted at" in document
