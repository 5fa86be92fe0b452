"""`start`: begins workflow runs on the test's own database."""

from __future__ import annotations

import pytest

from tests.support.flows import Flows
from tests.support.ledger import Ledger


@pytest.fixture
def start(q: Ledger) -> Flows:
    """start(step("a"), gate("g", "a"), …, active_key=…) → a Flow; the job type `t` is defined."""
    return Flows(q)
