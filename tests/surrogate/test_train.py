"""Training: it learns, goes on after a kill to the same weights, and says when it diverges."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.files import claimed
from ppiscs_jax.surrogate.checkpoint import Checkpoints
from ppiscs_jax.surrogate.densenet import DenseNet
from ppiscs_jax.surrogate.recipe import Architecture, Recipe, Stage, Weights
from ppiscs_jax.surrogate.train import DivergedError, train
from tests.table_samples import made_up_table

WEIGHTS = Weights(l1n=0.1, l2n=0.01, l1log=16.0, constraint=0.01)
RECIPE = Recipe(
    seed=1,
    network=Architecture(growth=12, layers=2),
    batch_size=32,
    epoch_steps=40,
    steps_per_call=10,
    checkpoint_steps=20,
    held_out=0.25,
    test_examples=64,
    stages=[
        Stage(epochs=1, learning_rate=2e-2, warmup_steps=10, weights=WEIGHTS),
        Stage(epochs=1, learning_rate=1e-2, decay=0.9, decay_epochs=0.25, weights=WEIGHTS),
    ],
)


def equal(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, train(RECIPE, made_up_table(), folder)


def test_it_learns(trained):
    """The first loss falls several times; metrics have every call and every test."""
    folder, _ = trained
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, 81, 10))
    assert lines[-1]["train"]["l1log"] < lines[0]["train"]["l1log"] / 3
    assert [line["step"] for line in lines if "test" in line] == [20, 40, 60, 80]


def test_same_seed_same_weights(trained, tmp_path):
    assert equal(trained[1], train(RECIPE, made_up_table(), tmp_path / "again"))


@pytest.mark.parametrize(
    "stop_at", [50, *(pytest.param(s, marks=pytest.mark.slow) for s in (20, 30, 60))]
)
def test_it_goes_on(trained, tmp_path, stop_at):
    """Stopped before, between and after checkpoints, in both stages: the same weights."""

    def stop(progress):
        if progress.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, made_up_table(), tmp_path / "run", progress=stop)
    assert equal(trained[1], train(RECIPE, made_up_table(), tmp_path / "run"))


def test_a_finished_one_is_not_made_again(trained):
    steps = []
    again = train(RECIPE, made_up_table(), trained[0], progress=lambda p: steps.append(p.step))
    assert equal(trained[1], again)
    assert steps == []


@pytest.mark.slow
def test_killed(trained, tmp_path):
    """SIGKILL in the middle of a process of its own; the next run ends with the same weights."""
    code = (
        "from tests.surrogate.test_train import *\n"
        "train(RECIPE, made_up_table(), sys.argv[1], progress=lambda p: print(p.step, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while int(process.stdout.readline()) < 40:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert equal(trained[1], train(RECIPE, made_up_table(), tmp_path / "run"))


@pytest.mark.slow
def test_divergence_is_told(tmp_path):
    wild = RECIPE.model_copy(
        update={"stages": [Stage(epochs=1, learning_rate=1e30, weights=WEIGHTS)]}
    )
    with pytest.raises(DivergedError, match="lower the learning rate"):
        train(wild, made_up_table(), tmp_path / "run")


@pytest.mark.slow
def test_transfer(trained, tmp_path):
    """From given weights, which are left as they are, tested on all of another table.

    That table's curves are ten times as large, and predictions off by 0.9 of them, or so. The
    curves are straight lines up to 12 atoms, which on average are 13/24 of their maximum.
    """
    start = trained[1]
    before = jax.tree.map(np.array, start)
    table = made_up_table()
    other = replace(table, beyond=10 * table.beyond)
    train(RECIPE, table, tmp_path / "run", start=start, tested=other)
    assert equal(start, before)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    first = json.loads((trained[0] / "metrics.jsonl").read_text().splitlines()[0])
    assert lines[0]["train"]["l1log"] < first["train"]["l1log"] / 3
    tests = {line["step"]: line["test"]["l1n"] for line in lines if "test" in line}
    assert list(tests) == [20, 40, 60, 80]
    assert tests[80] == pytest.approx(0.9 * 13 / 24, abs=0.05)
    with pytest.raises(InputError, match=r"another recipe, data or start \(tested differ\)"):
        train(RECIPE, table, tmp_path / "run", start=start, tested=table)
    wider = RECIPE.model_copy(update={"network": Architecture(growth=13, layers=4)})
    with pytest.raises(InputError, match="of another architecture"):
        train(wider, table, tmp_path / "wider", start=start)


@pytest.mark.slow
def test_a_constraint_of_no_weight(tmp_path):
    """It is not computed; held-out cells still tell it. Other terms: test_densenet.py."""
    weights = Weights(l1n=0.1, l2n=0.01, l1log=16.0, constraint=0)
    recipe = RECIPE.model_copy(
        update={"stages": [Stage(epochs=0.5, learning_rate=1e-2, weights=weights)]}
    )
    train(recipe, made_up_table(), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert all(line["train"]["constraint"] == 0 for line in lines)
    assert lines[-1]["test"]["constraint"] > 0


def test_two_in_one_folder(tmp_path):
    """The second is refused, before any work, and does not disturb the first."""
    with claimed(tmp_path), pytest.raises(InputError, match="another process works in it"):
        train(RECIPE, made_up_table(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_kernels_without_room_for_detectors(tmp_path):
    """20 detectors of 10 mrad outside of 35.5 mrad end at 235.5 mrad: refused without a folder."""
    table = made_up_table()
    narrow = replace(table, angles_mrad=table.angles_mrad[:-4], beyond=table.beyond[..., :-4, :])
    with pytest.raises(InputError, match=r"end at 230 mrad; must reach 235\.5 mrad or more"):
        train(RECIPE, narrow, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "said", ["Failed: [os_error_code='28']", "[OS error 28: ENOSPC No space]", "Errno 28"]
)
def test_a_checkpoint_on_a_full_disk(said, tmp_path, monkeypatch, caplog):
    """One error of the system with the checkpoint's name, of all that orbax says."""
    with Checkpoints(tmp_path) as checkpoints:

        def refuse(*_, **__):
            logging.getLogger("absl").error("a thread died: %s", said)
            raise ValueError(said)

        monkeypatch.setattr(checkpoints._manager, "save", refuse)
        with pytest.raises(OSError, match=r"No space left on device: .*/20") as error:
            checkpoints.save(20, {"weight": jnp.ones(2)})
    assert error.value.errno == 28
    assert caplog.text == ""


def test_folders_of_others(trained, tmp_path):
    other = RECIPE.model_copy(update={"seed": 2})
    with pytest.raises(InputError, match="another recipe"):
        train(other, made_up_table(), trained[0])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        train(RECIPE, made_up_table(), tmp_path)


def test_schedule():
    """Warm-up from 0 in 10 steps; then 0.9 for every 10 steps, in steps."""
    rate = RECIPE.learning_rate(RECIPE.stages[0])
    assert [float(rate(s)) for s in (0, 5, 10, 39)] == pytest.approx([0, 1e-2, 2e-2, 2e-2])
    rate = RECIPE.learning_rate(RECIPE.stages[1])
    assert [float(rate(s)) for s in (0, 9, 10, 25)] == pytest.approx([1e-2, 1e-2, 9e-3, 8.1e-3])


def test_gradient_of_the_network_is_exact():
    """A tripwire for every continuous input: autodiff against central differences."""
    network = DenseNet(growth=12, layers=4)
    params = network.initial(0)
    x = jnp.array([79.0, 0.0, 200.0, 0.0, 0.0, 22.0, 60.0, 150.0, 0.1])
    value = jax.jit(lambda v: network.apply({"params": params}, v).sum())
    slopes = jax.grad(value)(x)
    for i, step in [(2, 5.0), (5, 0.3), (6, 3.0), (7, 3.0), (8, 2e-3)]:
        change = jnp.zeros(9).at[i].set(step)
        numeric = (value(x + change) - value(x - change)) / (2 * step)
        assert slopes[i] != 0
        assert slopes[i] == pytest.approx(float(numeric), rel=0.02)
