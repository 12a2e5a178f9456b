"""What all tests share."""

import os
import tempfile

# Before JAX is imported: the processes of the tests, and those that they start, share what they
# compile.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="ppiscs-jax-tests-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import pytest
from filelock import FileLock

from ppiscs_jax.campaign.generate import generate
from tests.campaign_samples import small_campaign


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """Folder of the small campaign, finished by one process; to be copied, not changed."""
    shared = tmp_path_factory.getbasetemp()
    # The processes of the tests share what is one folder up.
    shared = shared if worker_id == "master" else shared.parent
    with FileLock(shared / "campaign.lock"):
        folder = shared / "finished campaign"
        if not folder.exists():
            generate(small_campaign(), shared / "begun campaign")
            (shared / "begun campaign").rename(folder)
    return folder
