"""`q`: the functions of the test's own database, called by name."""

from __future__ import annotations

import pytest

from tests.support.database import Db
from tests.support.ledger import Ledger


@pytest.fixture
def q(db: Db) -> Ledger:
    """With the job type `t` defined."""
    ledger = Ledger(db)
    ledger.define("t")
    return ledger
