"""`acting`: the functions as a role that has certain kinds, logged in for real."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.database import Db
from tests.support.ledger import Ledger

NewRole = Callable[..., str]


@pytest.fixture
def acting(db: Db, q: Ledger, new_role: NewRole) -> Callable[..., Ledger]:
    """acting("worker", types=["t"]) makes a role with that kind, logs in as it, and gives its functions."""

    def act(*kinds: str, types: list[str] | None = None, member_of: str | None = None) -> Ledger:
        role = new_role("-".join(kinds).replace("-", "_") or "nobody", member_of=member_of)
        for kind in kinds:
            bound = {} if types is None or kind in ("operator", "observer") else {"job_types": types}
            q.row("grant_access", role_name=role, kind=kind, **bound)
        ledger = q.on(db.connect(login=role))
        ledger.role = role  # type: ignore[attr-defined]
        return ledger

    return act
