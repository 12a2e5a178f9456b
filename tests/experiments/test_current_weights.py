"""Committed results are of the weights that ship."""

import json

import pytest

from experiments.common import ROOT, checksum_of_weights

RESULTS = sorted((ROOT / "experiments").glob("*/result/**/result.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_results_are_of_the_shipped_weights(path):
    """The checksums that were saved with a result are those of the files of today."""
    saved = json.loads(path.read_text(encoding="utf-8")).get("provenance", {})
    for name, checksum in saved.get("weights_sha256", {}).items():
        assert checksum == checksum_of_weights(name), f"run the experiment again: {name} is new"


def test_most_experiments_with_surrogates_say_their_weights():
    """The figures of the paper, both surrogates."""
    said = {
        path.relative_to(ROOT / "experiments").parts[0]
        for path in RESULTS
        if json.loads(path.read_text(encoding="utf-8"))["provenance"].get("weights_sha256")
    }
    figures = {"error_probability", "fit_microscope", "sensitivity", "setting_uncertainty"}
    assert figures | {"surrogate_errors"} <= said
