"""What the page computes besides curves: miscounting, files, addresses."""

import numpy as np
import pytest

from ppiscs_jax.crystal import rmsd_from_temperature
from ppiscs_jax.explorer.page import explorer_page
from ppiscs_jax.inverse.error_probability import error_probability
from ppiscs_jax.io.library import load_library
from ppiscs_jax.surrogate.additive_file import save_additive
from ppiscs_jax.surrogate.additive_fit import fit_additive
from tests.explorer.javascript import about_of, needs_node, run_javascript
from tests.table_samples import made_up_table

pytestmark = needs_node


@pytest.fixture(scope="module")
def about(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "made_up.npz"
    save_additive(path, fit_additive(made_up_table()), "made up")
    return about_of(explorer_page(surrogate=path))


def test_error_probability():
    """The sum of Poisson tails of inverse.error_probability, from 10 to 10⁷ counts a column.

    Two terms of Temme's expansion at 2000 counts leave 1e-9; rounding 1e-11 of each tail.
    """
    random = np.random.default_rng(0)
    curves, doses = [], []
    for _ in range(60):
        steps = random.uniform(-0.1, 1.0, random.integers(2, 60))
        curves.append(np.maximum(0.01 * np.cumsum(steps) + 0.01, 0.001).tolist())
        doses.append(10 ** random.uniform(2, 7))
    data = {"curves": curves, "doses": doses}
    ours = run_javascript(
        "return data.curves.map((c, i) => errorProbability(c, data.doses[i]));", data
    )
    expected = [float(error_probability(c, d)) for c, d in zip(curves, doses, strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-15)


def test_temperature(about):
    """B(T) on both sides of 80 K."""
    for symbol, kelvin in (("Au", 293.0), ("Al", 60.0)):
        ours = run_javascript("return rmsdAt(data.about, data.e, data.t);",
                              {"about": about, "e": symbol, "t": kelvin})  # fmt: skip
        assert ours == pytest.approx(rmsd_from_temperature(symbol, kelvin), rel=1e-12)


PARSE = """
return data.map((text) => {
  try { return parseCurve(text); } catch (error) { return error.message; }
});
"""

GOOD = {
    "0.1\n0.2\n0.3\n": ([1, 2, 3], [0.1, 0.2, 0.3]),
    "0.1\r\nNaN\r\n0.3": ([1, 3], [0.1, 0.3]),
    "0.1 0.2 0.3 0.4": ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]),
    "# measured\natoms,value\n3,0.3\n1,0.1\n": ([1, 3], [0.1, 0.3]),
    "0;0\n1;0,1\n2;0,2\n": ([1, 2], [0.1, 0.2]),
    "1\t1e-1\n2\t2e-1": ([1, 2], [0.1, 0.2]),
    "0.1\n0.2\n\n0.4\n\n": ([1, 2, 4], [0.1, 0.2, 0.4]),
    "n_atoms,error,ppiscs_angstrom2\n2,9,0.2\n": ([2], [0.2]),
}
BAD = {
    "": "no values",
    "0.1\nzero\n": "Line 2",
    "1,0.1\n1,0.2\n": "twice",
    "1.5 0.1\n2 0.2\n": "must be whole",
    "1,0.1\n2\n": "different numbers of columns",
    "1,0075\n2,0100\n": "decimal",
    "0.1\n\n0.2\n\n0.3\n": "blank",
}


def test_measured_curves():
    """The forms of files that `load_library` reads, gaps left out."""
    results = run_javascript(PARSE, [*GOOD, *BAD])
    for (atoms, values), found in zip(GOOD.values(), results, strict=False):
        assert (found["atoms"], found["values"]) == (atoms, values)
    for message, found in zip(BAD.values(), results[len(GOOD) :], strict=True):
        assert message in found


def test_exports(tmp_path, about):
    """`load_library` reads the library, the page reads its own CSV again, and the Python runs."""
    curve = np.linspace(0.01, 0.5, 12).tolist()
    data = {"about": about, "curve": curve}
    code = """
    const state = defaultState(data.about);
    const csv = csvOf(data.about, state, data.curve, data.curve);
    return [libraryOf(data.curve), csv, parseCurve(csv), snippetOf(data.about, state)];
    """
    library, csv, again, snippet = run_javascript(code, data)
    path = tmp_path / "library.txt"
    path.write_text(library)
    np.testing.assert_allclose(load_library(path).ppiscs, curve, rtol=1e-8)
    assert "n_atoms,ppiscs_angstrom2,standard_error_angstrom2" in csv
    np.testing.assert_allclose(again["values"], curve, rtol=1e-8)
    names: dict = {}
    exec(snippet, names)
    assert len(names["curve"].ppiscs) == len(names["curve"].n_atoms)


def test_address(about):
    """States survive the address, pins too; what is wrong there is left as it was."""
    code = """
    const base = defaultState(data);
    const state = { ...base, kv: 200, byTemperature: true, temperature: 300, dose: 2e5, atoms: 7 };
    const back = fromFragment(data, "#" + toFragment(state, [base, state]), base);
    const odd = fromFragment(data, "#el=Xx&kv=fast&a=&in=1e999", base).state;
    return { state, back, base, odd };
    """
    found = run_javascript(code, about)
    for name in ("kv", "byTemperature", "temperature", "dose", "atoms", "element", "zone"):
        assert found["back"]["state"][name] == found["state"][name]
    assert len(found["back"]["pins"]) == 2
    assert found["odd"] == found["base"]


def test_outside_the_trained_range(about):
    """Problems name the field, the value, the range and the unit."""
    code = """
    const base = defaultState(data);
    const told = (changes) => problemsOf(data, { ...base, ...changes }).map((p) => p.text);
    const hot = { byTemperature: true, temperature: 5000 };
    const changes = [{}, { aperture: 40 }, { inner: 210, outer: 200 }, { kv: NaN }, hot];
    return [...changes, { dose: 0 }, { atoms: 1.5 }].map(told);
    """
    fine, aperture, crossed, missing, hot, dose, atoms = run_javascript(code, about)
    assert fine == []
    assert aperture == ["α = 40 mrad is outside the trained range, 17.5 to 35.5 mrad."]
    assert crossed == ["The inner angle must be below the outer angle."]
    assert "Voltage is missing" in missing[0]
    assert "5000 K is outside the range of the Debye–Waller factors" in hot[0]
    assert "e⁻/Å²" in dose[0]
    assert "whole number, 2 to 12" in atoms[0]
