"""grant_access, revoke_access, list_operator_actions."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from runledger.migrate import migrate
from tests.support.database import Db
from tests.support.ledger import Ledger

NewRole = Callable[..., str]


def grants(db: Db, role: str) -> list[tuple]:
    return db.conn.execute(
        "select kind, job_types from runledger.access_grants where role_name = %s order by 1", [role]
    ).fetchall()


def test_a_grant_says_what_it_did(db: Db, q: Ledger, new_role: NewRole):
    role = new_role()
    assert q.row("grant_access", role_name=role, kind="worker") == {
        "role_name": role, "kind": "worker", "job_types": None, "disposition": "GRANTED",
    }  # fmt: skip
    assert q.row("grant_access", role_name=role, kind="worker")["disposition"] == "UNCHANGED"
    changed = q.row("grant_access", role_name=role, kind="worker", job_types=["b", "a", "b"])
    assert (changed["disposition"], changed["job_types"]) == ("CHANGED", ["a", "b"])
    assert q.row("grant_access", role_name=role, kind="worker", job_types=["a", "b"])["disposition"] == "UNCHANGED"
    q.row("grant_access", role_name=role, kind="producer")
    assert grants(db, role) == [("producer", None), ("worker", ["a", "b"])]
    assert q.row("grant_access", role_name=role, kind="worker")["disposition"] == "CHANGED"
    row = db.one("select * from runledger.access_grants where role_name = %s and kind = 'worker'", [role])
    assert row["job_types"] is None
    assert row["granted_by"] == db.value("select nspowner::regrole::text from pg_namespace where nspname = 'runledger'")


@pytest.mark.parametrize("job_types", [[], [""], ["a", None], [["a", "b"]], ["x" * 201], ["t"] * 1001])
def test_job_types_are_checked(q: Ledger, new_role: NewRole, job_types: list):
    with q.refused("access.invalid_job_types", "RL010"):
        q.row("grant_access", role_name=new_role(), kind="worker", job_types=job_types)


@pytest.mark.parametrize("kind", ["operator", "observer"])
def test_only_work_is_held_to_job_types(q: Ledger, new_role: NewRole, kind: str):
    with q.refused("access.invalid_job_types"):
        q.row("grant_access", role_name=new_role(), kind=kind, job_types=["t"])


@pytest.mark.parametrize("kind", ["", "admin", "WORKER", None])
def test_unknown_kinds_are_refused(db: Db, q: Ledger, new_role: NewRole, kind: str | None):
    role = new_role()
    with q.refused("access.invalid_kind", "RL010"):
        q.row("grant_access", role_name=role, kind=kind)
    if kind is not None:
        with q.refused("access.invalid_kind"):
            q.rows("revoke_access", role_name=role, kind=kind)
    assert grants(db, role) == []


@pytest.mark.parametrize("role", ["no_such_role", "", None, "x" * 300, '"; drop schema runledger cascade; --'])
def test_unknown_roles_are_refused(q: Ledger, role: str | None):
    with q.refused("access.role_not_found", "RL001"):
        q.row("grant_access", role_name=role, kind="worker")


def test_roles_that_may_everything_and_public_are_refused(db: Db, q: Ledger, new_role: NewRole):
    owner = db.value("select nspowner::regrole::text from pg_namespace where nspname = 'runledger'")
    superuser = new_role(options="superuser")
    deputy = new_role(member_of=owner)
    for role in (owner, superuser, deputy, "public", "PUBLIC"):
        with q.refused("access.role_refused", "RL010"):
            q.row("grant_access", role_name=role, kind="observer")
    for role in (owner, "public"):
        with q.refused("access.role_refused", "RL010"):
            q.rows("revoke_access", role_name=role)


def test_names_that_need_quotes(db: Db, q: Ledger):
    name = 'Some "quoted" role; drop'
    quoted = psycopg.sql.Identifier(name)
    with db.connect(admin=True) as conn:
        conn.execute(psycopg.sql.SQL("create role {} login").format(quoted))
        try:
            assert q.row("grant_access", role_name=name, kind="observer")["disposition"] == "GRANTED"
            assert db.connect(login=name).execute("select count(*) from runledger.jobs").fetchone() == (0,)
            assert q.row("revoke_access", role_name=name)["disposition"] == "REVOKED"
        finally:
            conn.execute(psycopg.sql.SQL("drop owned by {}").format(quoted))
            conn.execute(psycopg.sql.SQL("drop role {}").format(quoted))


def test_revoke_takes_one_kind_or_all(db: Db, q: Ledger, new_role: NewRole):
    role = new_role()
    for kind in ("worker", "operator", "observer"):
        q.row("grant_access", role_name=role, kind=kind)
    assert [r["kind"] for r in q.rows("revoke_access", role_name=role, kind="worker")] == ["worker"]
    assert q.rows("revoke_access", role_name=role, kind="worker") == []
    rows = q.rows("revoke_access", role_name=role)
    assert [(r["kind"], r["disposition"]) for r in rows] == [("observer", "REVOKED"), ("operator", "REVOKED")]
    assert grants(db, role) == []


def test_a_revoked_role_stands_outside_at_once(db: Db, q: Ledger, new_role: NewRole):
    """Also in a session that was open, with its statements prepared."""
    role = new_role()
    q.row("grant_access", role_name=role, kind="producer")
    conn = db.connect(login=role)
    conn.execute("prepare put as select job_id from runledger.enqueue_job('t')")
    conn.execute("execute put")
    q.rows("revoke_access", role_name=role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("execute put")
    db.execute(f"drop role {role}")
    db.execute(f"create role {role}")


def test_what_was_given_by_hand_goes_too(db: Db, q: Ledger, new_role: NewRole):
    """Columns, types, and what the role has passed on: nothing keeps the role from being dropped."""
    role, friend = new_role(), new_role()
    q.row("grant_access", role_name=role, kind="observer")
    db.execute(f"grant select (payload), update (stage) on runledger.job_queue to {role}")
    db.execute(f"grant usage on type runledger.job_summary to {role}")
    db.execute(f"grant execute on function runledger.prune to {role} with grant option")
    db.connect(login=role).execute(f"grant execute on function runledger.prune to {friend}")
    assert [r["disposition"] for r in q.rows("revoke_access", role_name=role)] == ["REVOKED"]
    assert not db.value("select has_any_column_privilege(%s, 'runledger.job_queue', 'select')", [role])
    pruning = "runledger.prune(interval, integer, text, interval)"
    assert not db.value("select has_function_privilege(%s, %s, 'execute')", [friend, pruning])
    db.execute(f"drop role {role}")
    db.execute(f"create role {role}")


def test_columns_that_were_given_by_hand_go_with_the_next_grant(db: Db, q: Ledger, new_role: NewRole):
    role = new_role()
    db.execute(f"grant select (payload) on runledger.job_queue to {role}")
    q.row("grant_access", role_name=role, kind="observer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect(login=role).execute("select payload from runledger.job_queue")
    assert db.connect(login=role).execute("select count(*) from runledger.jobs").fetchone() == (0,)


def test_only_the_owner_grants(db: Db, q: Ledger, new_role: NewRole):
    role = new_role()
    for kind in ("producer", "worker", "operator", "observer"):
        q.row("grant_access", role_name=role, kind=kind)
    conn = db.connect(login=role)
    for statement in ("select runledger.grant_access(current_user::text, 'operator')",
                      "select runledger.revoke_access(current_user::text)",
                      "insert into runledger.access_grants values ('x', 'operator', null, 'x', now())",
                      "grant execute on function runledger.grant_access to public"):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)


def test_grants_survive_that_functions_are_made_anew(db: Db, q: Ledger, new_role: NewRole):
    role, gone = new_role(), new_role()
    q.row("grant_access", role_name=role, kind="observer")
    q.row("grant_access", role_name=gone, kind="observer")
    db.execute(f"drop owned by {gone}")
    db.execute(f"drop role {gone}")
    for what in ("function runledger.fsck", "view runledger.jobs"):
        db.execute(f"drop {what}")
    db.execute("update runledger._shelves set sha256 = 'old'")
    migrate(db.dsn)
    conn = db.connect(login=role)
    assert conn.execute("select count(*) from runledger.jobs").fetchone() == (0,)
    assert conn.execute("select * from runledger.fsck()").fetchall() == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select runledger.claim_jobs('w', '{t}')")
    # The row of a role that is gone stays until it is revoked; a dump may have brought it from elsewhere.
    assert grants(db, gone) == [("observer", None)]
    assert len(q.rows("revoke_access", role_name=gone)) == 1
    db.execute(f"create role {gone}")


def test_rights_follow_membership(db: Db, q: Ledger, new_role: NewRole):
    group = new_role("group", options="nologin")
    member = new_role("member", member_of=group)
    q.row("grant_access", role_name=group, kind="producer")
    conn = db.connect(login=member)
    conn.execute("select runledger.enqueue_job('t')")
    db.execute(f"revoke {group} from {member}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select runledger.enqueue_job('t')")


def test_grants_and_revokes_are_recorded(db: Db, q: Ledger, new_role: NewRole):
    role = new_role()
    q.row("grant_access", role_name=role, kind="worker", job_types=["a"])
    q.row("grant_access", role_name=role, kind="worker", job_types=["a"])
    q.rows("revoke_access", role_name=role)
    q.rows("revoke_access", role_name=role)
    rows = q.rows("list_operator_actions", object=role)
    assert [(r["action"], r["detail"]) for r in rows] == [
        ("revoke_access", {"kinds": ["worker"]}),
        ("grant_access", {"kind": "worker", "job_types": ["a"]}),
    ]


def test_actions_are_read_in_pages(db: Db, q: Ledger, new_role: NewRole):
    role = new_role()
    for n in range(5):
        q.row("grant_access", role_name=role, kind="worker", job_types=[f"t{n}"])
    everything = q.rows("list_operator_actions", action="grant_access")
    first = q.rows("list_operator_actions", action="grant_access", max_rows=2)
    second = q.rows("list_operator_actions", action="grant_access", before_action_id=first[-1]["id"], max_rows=1000)
    assert first + second == everything
    assert [r["detail"]["job_types"] for r in everything] == [[f"t{n}"] for n in (4, 3, 2, 1, 0)]
    assert {r["role_name"] for r in everything} == {everything[0]["role_name"]}
    assert q.rows("list_operator_actions", role_name="nobody") == []
    for rows in (0, 1001, None):
        with q.refused("job.invalid_pagination"):
            q.rows("list_operator_actions", max_rows=rows)


def test_the_owner_cannot_rewrite_history(db: Db, q: Ledger, new_role: NewRole):
    q.row("grant_access", role_name=new_role(), kind="worker")
    for statement in ("update runledger.operator_actions set reason = 'x'", "delete from runledger.operator_actions",
                      "truncate runledger.operator_actions"):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            q.conn.execute(statement)
