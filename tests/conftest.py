import pytest

from ppiscs_jax.dataset.generate import generate
from tests.campaign_samples import small_campaign


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Folder of the small campaign, finished by one process; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("campaign") / "finished"
    generate(small_campaign(), folder)
    return folder
