"""In which folders a campaign works, and which it refuses and leaves as they are."""

import pytest

from ppiscs_jax import InputError
from ppiscs_jax.campaign.cluster import Resources
from ppiscs_jax.campaign.folder import read_campaign, working_in
from ppiscs_jax.campaign.generate import generate
from tests.campaign_samples import kernels, small_campaign

CAMPAIGN = small_campaign()

REFUSED = [
    ({"seed": 6}, True, "holds another campaign, that differs in seed"),
    ({"band": 0.8, "lattice_mrad": 10}, True, "that differs in lattice_mrad, band"),
    ({}, False, "holds this campaign already; resume it with --resume"),
    ({"rmsd_angstrom": [0.1]}, False, "holds this campaign already"),
]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("changes", "resume", "message"), REFUSED)
def test_folders_of_campaigns_are_refused(changes, resume, message, folder, finished):
    with pytest.raises(InputError, match=message):
        generate(small_campaign(**changes), folder, resume=resume)
    assert kernels(folder) == kernels(finished)
    assert read_campaign(folder) == CAMPAIGN


@pytest.mark.usefixtures("no_work")
def test_other_folders_are_refused(tmp_path):
    """Something else, a file, and a damaged campaign file, all left as they are."""
    other, file, damaged = (tmp_path / name for name in ("other", "file", "damaged"))
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    file.write_text("text")
    damaged.mkdir()
    (damaged / "campaign.json").write_text('{"config": {')
    for path, message in (
        (other, "holds letter.txt and no campaign"),
        (file, "is not a folder"),
        (damaged, r"campaign\.json: damaged"),
    ):
        for resume in (False, True):
            with pytest.raises(InputError, match=message):
                generate(CAMPAIGN, path, resume=resume)
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(
        ["other", "letter.txt", "file", "damaged", "campaign.json"]
    )


@pytest.mark.usefixtures("no_work")
def test_unpacked_kernels_are_gone_on_from(folder, finished):
    """A folder of kernels alone is taken up where one resumes."""
    for name in ("campaign.json", "log.jsonl"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="and no campaign"):
        generate(CAMPAIGN, folder)
    assert generate(CAMPAIGN, folder, resume=True).finished_before == 8
    assert kernels(folder) == kernels(finished)


@pytest.mark.usefixtures("no_work")
def test_a_second_process_is_refused(half):
    with (
        working_in(half, CAMPAIGN),
        pytest.raises(InputError, match="another process works in it"),
    ):
        generate(CAMPAIGN, half, resume=True)


@pytest.mark.usefixtures("no_work")
def test_all_problems_at_once(folder, tmp_path):
    resources = Resources(workers=0, scheduler="tcp://x:1", slurm=tmp_path / "none.toml")
    with pytest.raises(InputError) as error:
        generate(small_campaign(seed=6), folder, resources=resources)
    said = str(error.value)
    for part in (
        "workers = 0: must be 1 or more",
        "scheduler and slurm: give one of them",
        f"config {tmp_path}",
        "holds another campaign",
    ):
        assert part in said
