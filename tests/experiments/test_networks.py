"""Experiments with networks and the speed of fits, on reduced configs."""

import json
import sys

import pytest

from experiments.ablation import run as ablation
from experiments.architectures import run as architectures
from experiments.common import ROOT
from experiments.data_ranges import run as data_ranges
from experiments.fit_speed import run as fit_speed
from experiments.transfer import run as transfer
from ppiscs_jax.surrogate.densenet import DenseNet
from ppiscs_jax.surrogate.network import TABLE_1, save_network
from ppiscs_jax.surrogate.published import save_published

KERNELS = "experiments/dataset/kernels/Ni_100.h5"

TRAINING = """
[training]
seed = 0
held_out = 0.2
batch_size = 16
epoch_steps = 20
steps_per_call = 10
checkpoint_steps = 20
test_examples = 64

[[training.stages]]
epochs = 1
learning_rate = 1e-3
weights = { l1n = 1, l2n = 0, l1log = 0.2, constraint = 0 }
"""


@pytest.fixture
def run(tmp_path):
    """Runs an experiment on a config; gives its result and the folder."""

    def run_it(experiment, text):
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")
        out = tmp_path / "out"
        arguments = ["--config", str(tmp_path / "config.toml"), "--out", str(out)]
        assert experiment.command(arguments) == 0
        return json.loads((out / "result.json").read_text(encoding="utf-8")), out

    return run_it


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """File of a small network that has learned nothing."""
    path = tmp_path_factory.mktemp("network") / "small.npz"
    small = DenseNet(growth=6, layers=4, outputs=87)
    save_network(path, small, small.initial(0), TABLE_1, "made up")
    return path


ABLATION = f"""
data = "{KERNELS}"
growths = [4]
layers_of_growths = 3
connections = ["densely", "fully"]
activations = ["swish"]
layers = [3]
growth_of_layers = 4
changes = ["no constraint", "batch normalisation", "dropout", "weight decay"]
seeds_of_repeated = 2

[training]
seed = 0
held_out = 0.2
examples = 640
batch_size = 16
steps_per_call = 10
learning_rate = 1e-3
warmup_steps = 10
weights = {{ l1n = 1, l2n = 0, l1log = 0.2, constraint = 0.1 }}
test_examples = 64
"""


@pytest.mark.slow
def test_ablation(run, monkeypatch):
    """Each network once; parameters by hand: 9·4 + 4, 4·4 + 4, then 8 or 4 inputs to 61."""
    result, out = run(ablation, ABLATION)
    rows = result["rows"]
    sizes = {r["connections"]: r["parameters"] for r in rows if r["change"] == "none"}
    assert sizes == {"densely": 40 + 20 + 9 * 61, "fully": 40 + 20 + 5 * 61}
    assert [(r["connections"], r["seed"]) for r in rows[:4]] == [
        ("densely", 0),
        ("fully", 0),
        ("densely", 1),
        ("fully", 1),
    ]
    errors = {r["change"]: r["test_l1n"] for r in rows if r["connections"] == "densely"}
    assert len(set(errors.values())) == len(errors) == 5
    assert all(row["test_l1n"] > 0 for row in rows)
    assert (out / "ablation.png").stat().st_size > 10_000
    # What is finished is not trained again.
    monkeypatch.setattr(ablation, "measure", None)
    again, _ = run(ablation, ABLATION)
    assert again["rows"] == rows


@pytest.mark.slow
def test_transfer(run, network):
    """Two starts, two amounts of data: four different errors, each at its only checkpoint."""
    config = f"""
surrogate = "{network}"
data = "{KERNELS}"
tenth_voltages_kv = [60, 300]
tenth_rmsd_angstrom = [0.1125]
"""
    result, out = run(transfer, config + TRAINING)
    kinds = {(row["start"], row["kernels"]) for row in result["rows"]}
    data = ("all", "2 of 30")
    assert kinds == {(s, d) for s in ("shipped weights", "random weights") for d in data}
    assert {row["step"] for row in result["rows"]} == {20}
    assert len({row["test_l1n"] for row in result["rows"]}) == 4
    assert (out / "transfer.png").stat().st_size > 10_000


@pytest.mark.slow
def test_transfer_from_nodes_that_are_not_there(network, tmp_path, capsys):
    config = f"""
surrogate = "{network}"
data = "{KERNELS}"
tenth_voltages_kv = [60, 250]
tenth_rmsd_angstrom = [0.1125]
"""
    (tmp_path / "config.toml").write_text(config + TRAINING, encoding="utf-8")
    out = str(tmp_path / "out")
    assert transfer.command(["--config", str(tmp_path / "config.toml"), "--out", out]) == 2
    assert "tenth_voltages_kv = [60.0, 250.0]: must be among" in capsys.readouterr().err


@pytest.mark.slow
def test_architectures(run, network):
    """The additive model is additive and blind to aberrations; the network is neither."""
    config = f"""
seed = 5
held_out = "experiments/fresh_check/result/held_out.npz"
kernels = "experiments/dataset/kernels/Ni_110.h5"
surrogates = ["additive", "table", "{network}"]
least_width_mrad = 20
settings = 20
batch = 8
rounds = 1
"""
    result, _ = run(architectures, config)
    additive, small, table = result["rows"]
    assert [row["surrogate"] for row in result["rows"]] == ["additive", "small", "table"]
    for row in (additive, table):
        assert row["additivity_largest"] < 1e-6
        assert row["aberration_spread_largest"] == 0
        assert row["mean_score"] < 1.5e-3
    assert small["additivity_mean"] > 1e-3
    assert small["aberration_spread_mean"] > 0


@pytest.mark.slow
def test_data_ranges(run):
    """Draws keep to Table 1; of 40, extremes lie within a tenth of its ends, nearly always.

    The chance that none of 40 falls into a given tenth is 0.9⁴⁰ = 1.5 %; the seed is fixed. Angles
    depend on each other and begin later: within 0.15.
    """
    result, _ = run(data_ranges, (ROOT / "experiments/data_ranges/quick.toml").read_text())
    for row in result["ranges"]:
        low, high = row["table_1_lowest"], row["table_1_highest"]
        span = high - low
        assert -1e-6 * span <= row["lowest"] - low < 0.15 * span
        assert -1e-6 * span <= high - row["highest"] < 0.15 * span
    assert result["ratio_of_maxima"] > 100


@pytest.mark.slow
def test_fit_speed(run):
    """Exact curves are fitted to rounding: Σ |difference| far below a curve's 10 Å² or so."""
    text = (ROOT / "experiments/fit_speed/config.toml").read_text(encoding="utf-8")
    text = text.replace("cases = 20", "cases = 2").replace("batch = 1000", "batch = 5")
    result, _ = run(fit_speed, text)
    ours = result["medians"]["least squares, surrogate"]
    assert ours["sum_of_differences_angstrom2"] < 1e-4
    assert 0 < ours["seconds"] < 10


@pytest.mark.slow
def test_fit_speed_through_the_network(run):
    """All fits in one call converge, at the costs of SciPy's up to 0.02 of chi-squared."""
    text = (ROOT / "experiments/fit_speed/network.toml").read_text(encoding="utf-8")
    text = text.replace("cases = 20", "cases = 3").replace("batch = 10000", "batch = 64")
    result, _ = run(fit_speed, text)
    for name in fit_speed.BATCHES.values():
        assert result["medians"][name]["converged"] == 1
        assert result["medians"][name]["largest_cost_above_scipys"] < 0.01


PEER = """
from pathlib import Path
from ppiscs_jax.surrogate.published import load_published
from tests.surrogate.double import predict_float64

class PPISCS:
    def __init__(self):
        self.model = load_published(Path(__file__).parent / "coef_scs_fcc.mat")

    def predict(self, x):
        return predict_float64(*self.model, x)[:, :61]
"""


@pytest.mark.slow
def test_fit_speed_with_a_peer(run, tmp_path, monkeypatch):
    """A stand-in for rt_ppiscs, with a small network: Nelder–Mead never beats its gradients."""
    package = tmp_path / "peer" / "rt_ppiscs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.py").write_text(PEER, encoding="utf-8")
    small = DenseNet(growth=6, layers=4)
    save_published(package / "coef_scs_fcc.mat", small, small.initial(0))
    for name in ("rt_ppiscs", "rt_ppiscs.model"):
        # Set, so that what is imported in its place is gone after the test, then forgotten.
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    text = (ROOT / "experiments/fit_speed/config.toml").read_text(encoding="utf-8")
    text = text.replace("cases = 20", "cases = 1").replace("batch = 1000", "batch = 5")
    result, _ = run(fit_speed, text)
    medians = result["medians"]
    costs = [
        medians[name]["sum_of_differences_angstrom2"]
        for name in ("least squares, the same network", "Nelder–Mead, rt_ppiscs")
    ]
    assert costs[0] <= costs[1]


@pytest.mark.parametrize("experiment", [ablation, architectures, data_ranges, fit_speed, transfer])
def test_bad_configs(experiment, tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text("sead = 1", encoding="utf-8")
    assert experiment.command(["--config", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "sead: unknown key" in capsys.readouterr().err
