"""A React app in a real browser follows a task through cuts; at full size by `python -m tests.browser.cuts`."""

from pathlib import Path

import pytest

from tests.browser.chromium import find_chromium
from tests.browser.cuts import KINDS, built_sample, follow_through_cuts
from tests.driven import Driven
from tests.javascript.node import Package


@pytest.mark.timeout(400)  # a package is installed and built, an instance started, and nodes are killed
async def test_the_page_shows_exactly_the_output_through_cuts(driven: Driven, built: Package, tmp_path: Path) -> None:
    find_chromium()
    await driven.until_well()
    outcome = await follow_through_cuts(driven, built_sample(built), tmp_path, [*KINDS, "sockets"], seed=1)
    assert outcome.wrong == [], outcome.figures
    assert outcome.connections > len(KINDS), outcome.figures
