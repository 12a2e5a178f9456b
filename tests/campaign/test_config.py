"""What a campaign's config may say, which tasks follow from it, in which order and with which seed.

And that one task keeps what the config promises.
"""

from pathlib import Path

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, scattering_kernel
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.campaign.task import simulate_task, task_grids
from ppiscs_jax.config import load_config
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.crystal import ELEMENTS
from ppiscs_jax.simulation.kernel import noise
from ppiscs_jax.simulation.levels import grids_reaching
from tests.campaign_samples import SMALL, as_toml, small_campaign

TABLE1 = Path(__file__).parents[2] / "experiments" / "dataset" / "table1.toml"

INF = float("inf")


def problems(tmp_path, **changes) -> list[str]:
    """What is said of the small config with changes."""
    path = tmp_path / "campaign.toml"
    path.write_text(as_toml(SMALL | changes), encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_config(path, Campaign)
    return [p.removeprefix(f"config {path}: ") for p in error.value.problems]


BAD = [
    ({"elemnts": ["Al"]}, "elemnts: unknown key; nearest valid one: elements"),
    (
        {"angles": [{"to_mrad": 100, "step_mrad": 2, "stp": 1}]},
        "angles[0].stp: unknown key; nearest valid one: step_mrad",
    ),
    ({"seed": -1}, "seed = -1: Input should be greater than or equal to 0"),
    ({"elements": []}, "elements = []: List should have at least 1 item"),
    ({"elements": ["Fe"]}, "element = 'Fe': must be one of Al"),
    ({"elements": ["Al", "Al"]}, "a value is there twice"),
    ({"zone_axes": ["112"]}, "zone_axis = '112': must be one of 110"),
    ({"zone_axes": ["100", "001"]}, "a value is there twice"),
    ({"n_atoms": {"112": 5}}, "zone_axis = '112': must be one of 110"),
    ({"n_atoms": {"100": 0}}, "n_atoms.100 = 0: Input should be greater than or equal to 1"),
    ({"voltages_kv": [2]}, "voltage_kv = 2 kV: must be 20 to 1000 kV"),
    ({"rmsd_angstrom": [0.4]}, "rmsd_angstrom = 0.4 Å: must be 0 to 0.3 Å"),
    ({"rings_mrad": [0, 12, 17.5, 26]}, "rings_mrad: 3 rings; their number must be a power of two"),
    ({"rings_mrad": [5, 12, 17.5, 22, 26]}, "must increase from 0 to at most 100 mrad"),
    ({"rings_mrad": [0, 17.5, 12, 22, 26]}, "must increase from 0 to at most 100 mrad"),
    ({"rings_mrad": [0, 12, 17.5, 22, INF]}, "rings_mrad[4] = inf: Input should be a finite"),
    ({"kept_rings_mrad": [0, 17, 26]}, "must be some of rings_mrad, first and last included"),
    ({"kept_rings_mrad": [0, 17.5, 22]}, "must be some of rings_mrad, first and last included"),
    ({"kept_rings_mrad": [0, 22, 17.5, 26]}, "must increase"),
    (
        {"angles": [{"to_mrad": 101, "step_mrad": 2}]},
        "angles.to_mrad = 101: must be whole steps of 2 mrad above 0 mrad, up to 250 mrad",
    ),
    (
        {"angles": [{"to_mrad": 100, "step_mrad": 2}, {"to_mrad": 260, "step_mrad": 4}]},
        "angles.to_mrad = 260: must be whole steps of 4 mrad above 100 mrad, up to 250 mrad",
    ),
    ({"angles": [{"to_mrad": INF, "step_mrad": 2}]}, "angles[0].to_mrad = inf: Input should be"),
    ({"detectors_mrad": [[90, 45]]}, "detectors_mrad = (90, 45): must be 0 ≤ inner < outer ≤ 100"),
    ({"detectors_mrad": [[45, 160]]}, "detectors_mrad = (45, 160): must be 0 ≤ inner < outer ≤"),
    (
        {"noise": [{"convergence_mrad": 40, "limit": 0.1}]},
        "noise.convergence_mrad = 40 mrad, as kept: must be 17.5 to 26 mrad, as kept",
    ),
    (
        {"noise": [{"convergence_mrad": 20, "limit": 1}]},
        "noise[0].limit = 1: Input should be less than 1",
    ),
    # What no kernel of these edges could answer is found before the first one is computed.
    (
        {"kept_rings_mrad": [0, 17.5, 26]},
        "convergence_mrad = 20 mrad: lies between 17.5 and 26 mrad of this kernel",
    ),
    (
        {"angles": [{"to_mrad": 40, "step_mrad": 2}, {"to_mrad": 100, "step_mrad": 20}]},
        "inner_mrad = 45 mrad: lies between 40 and 60 mrad of this kernel",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_bad_configs(changes, message, tmp_path):
    assert message in "; ".join(problems(tmp_path, **changes))


def test_all_problems_at_once(tmp_path):
    said = problems(
        tmp_path, sead=1, elements=["Fe", "Xy"], voltages_kv=[2], angles=[{"to_mrad": -1}]
    )
    for start in (
        "sead: unknown key; nearest valid one: seed",
        "elements = ['Fe', 'Xy']: element = 'Fe': must be one of",
        "voltages_kv = [2]: voltage_kv = 2 kV",
        "angles[0].to_mrad = -1: Input should be greater than 0",
        "angles[0].step_mrad: missing",
    ):
        assert any(problem.startswith(start) for problem in said), start
    assert "element = 'Xy'" in said[0]
    said = "; ".join(problems(tmp_path, rings_mrad=[0, 12, 26], detectors_mrad=[[90, 45]]))
    for part in ("kept_rings_mrad", "detectors_mrad = (90, 45)"):
        assert part in said


def test_other_names_of_zone_axes():
    """By symmetry "001" is "100", in lists and in tables."""
    campaign = small_campaign(zone_axes=["001"], n_atoms={"[010]": 3})
    assert campaign.tasks() == small_campaign().tasks()
    assert campaign.thickest(campaign.tasks()[0]) == 3


def test_angle_edges():
    parts = [{"to_mrad": 50, "step_mrad": 1}, {"to_mrad": 100, "step_mrad": 2}]
    expected = [*range(50), *range(50, 101, 2)]
    np.testing.assert_allclose(small_campaign(angles=parts).angle_edges_mrad, expected)


def test_order_of_tasks():
    """Element by zone axis in the config's order; within one the ends come first.

    Five voltages and five rmsd, each halved: 2, then 1, then 2 of each; a node comes in the
    round of the later of its two, so 4, 9 and all 25 are done after the rounds.
    """
    voltages, rmsds = [300, 60, 120, 80, 200], [0.08, 0.09, 0.1, 0.11, 0.12]
    campaign = small_campaign(
        zone_axes=["110", "100"], voltages_kv=voltages, rmsd_angstrom=rmsds, elements=["Ni", "Al"]
    )
    tasks = campaign.tasks()
    assert len(tasks) == len({task.name for task in tasks}) == 2 * 2 * 5 * 5
    assert list(dict.fromkeys(t.group for t in tasks)) == ["Ni_110", "Ni_100", "Al_110", "Al_100"]
    for start in range(0, 100, 25):
        block = [(t.voltage_kv, t.rmsd_angstrom) for t in tasks[start : start + 25]]
        assert len({t.group for t in tasks[start : start + 25]}) == 1
        assert set(block[:4]) == {(v, r) for v in (60, 300) for r in (0.08, 0.12)}
        assert set(block[:9]) == {(v, r) for v in (60, 120, 300) for r in (0.08, 0.1, 0.12)}


def test_seeds():
    """They differ, and follow from the campaign's seed and the task's name alone."""
    few, more = small_campaign(), small_campaign(voltages_kv=[60, 100, 300], elements=["Pb", "Al"])
    seeds = {task.name: task.seed for task in more.tasks()}
    assert len(set(seeds.values())) == len(seeds)
    assert all(seeds[t.name] == t.seed for t in few.tasks() if t.element == "Al")
    assert few.fingerprint == more.fingerprint
    other = small_campaign(seed=6)
    assert not {t.seed for t in few.tasks()} & {t.seed for t in other.tasks()}
    assert other.fingerprint != few.fingerprint
    assert small_campaign(band=0.8).fingerprint != few.fingerprint


def test_the_config_of_the_data_set():
    """Table 1 of Lobato et al. (2023): 8 elements × 2 zone axes × 6 voltages × 5 rmsd."""
    campaign = load_config(TABLE1, Campaign)
    assert len(campaign.tasks()) == 8 * 2 * 6 * 5
    assert campaign.angle_edges_mrad[-1] == 250


@pytest.mark.slow
def test_a_task_keeps_its_noise_limits():
    """And agrees with a simulation of its own grid and seed, to four combined standard errors.

    Five thicknesses of two detectors and two apertures, correlated. That one has the converged
    band and supercell, which differ by less than the few percents of these errors.
    """
    limits = [{"convergence_mrad": a, "limit": limit} for a, limit in ((20, 0.02), (26, 0.01))]
    detectors = [(45, 90), (60, 100)]
    campaign = small_campaign(noise=limits, detectors_mrad=detectors)
    task = campaign.tasks()[0]
    kernel = simulate_task(campaign, task)
    assert kernel.seed == task.seed
    assert list(kernel.ring_edges_mrad) == campaign.kept_rings_mrad
    assert len(kernel.n_atoms) == 5
    for limit in campaign.noise:
        for detector in detectors:
            assert noise(kernel, limit.convergence_mrad, *detector) <= limit.limit
    alone = scattering_kernel(
        Settings("Al", "100", 60.0, 26.0, 45.0, 90.0, 0.08),
        apertures_mrad=[20.0, 26.0],
        relative_error=0.02,
        n_atoms=5,
        seed=1,
    )
    for aperture in (20.0, 26.0):
        for detector in detectors:
            a, b = (k.curve(aperture, *detector) for k in (kernel, alone))
            error = np.hypot(a.standard_error, b.standard_error)
            assert np.all(np.abs(a.ppiscs - b.ppiscs) < 4 * error)


@pytest.mark.parametrize(("least", "rounds"), [(0.01, 1), (0.002, 4)])
def test_pilots_of_low_noise_are_longer(monkeypatch, least, rounds):
    """One round where the limits are high, several for the lowest of them."""
    found = []

    def spy(*_, pilot_rounds, **__):
        found.append(pilot_rounds)
        raise InterruptedError

    monkeypatch.setattr("ppiscs_jax.simulation.averaging.run_levels", spy)
    limits = [{"convergence_mrad": a, "limit": limit} for a, limit in ((20, 0.01), (26, least))]
    campaign = small_campaign(noise=limits)
    with pytest.raises(InterruptedError):
        simulate_task(campaign, campaign.tasks()[0])
    assert found == [rounds]


def test_grids_of_a_task():
    """The coarse one just holds all angles, and goes where it has no fewer pixels."""
    campaign = small_campaign()
    coarse, fine = task_grids(campaign, campaign.tasks()[0])
    wavelength = wavelength_angstrom(campaign.tasks()[0].voltage_kv)
    edge_mrad = float(campaign.angle_edges_mrad[-1])
    edge = 1e-3 * edge_mrad / wavelength * ELEMENTS["Al"].lattice_angstrom
    assert edge <= min(coarse.nyquist) < min(fine.nyquist)
    assert grids_reaching(campaign.settings(campaign.tasks()[0]), coarse, 2 * edge_mrad) == [coarse]
