"""Every plug-in of the package keeps its contract: `pip install -e .[test]`, then `pytest`."""

import pytest

from harmonygen.conformance.check import check_plugin
from harmonygen.conformance.settings import CheckPluginSettings


@pytest.mark.parametrize("name", ["light", "cast", "colour-match", "rim"])
def test_it_passes_the_conformance_suite(name):
    found = check_plugin(CheckPluginSettings(plugin=name, device="cpu", max_side=128))
    assert [(check.check, check.found) for check in found.failed] == []
