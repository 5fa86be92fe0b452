"""The matrix of rights against the catalog: every object is listed, and a kind has what is listed and nothing else."""

from __future__ import annotations

import pytest

from tests.support.access import block, stated

KINDS = ["producer", "worker", "operator", "observer"]


def listed(db) -> dict[tuple[str, str], list[str]]:
    rows = db.all("select * from runledger._access_matrix()")
    found = {(row["object_type"], row["name"]): row["kinds"] for row in rows}
    assert len(found) == len(rows), "an object is listed twice"
    return found


INTERNALS = {("function", name) for name in ("_limits", "_job_state", "_schedule_state")}
"""What views call: they run functions as whoever reads them."""


def test_every_public_function_and_view_is_listed(db):
    """Whoever adds one decides who may use it: here, in _access_matrix()."""
    public = db.all("""
        select 'function' as type, proname::text as name from pg_proc where pronamespace = 'runledger'::regnamespace
           and proname !~ '^_'
        union all
        select 'view', relname::text from pg_class where relnamespace = 'runledger'::regnamespace and relkind in ('v', 'm')
           and relname !~ '^_'""")
    assert {(row["type"], row["name"]) for row in public} == listed(db).keys() - INTERNALS


def test_the_readme_has_the_matrix():
    assert stated() == block(), "sql/README.md is behind _access_matrix(): python -m tests.support.access"


def test_only_known_kinds_are_listed(db):
    assert {kind for kinds in listed(db).values() for kind in kinds} == set(KINDS)


def test_work_and_operation_are_kept_apart(db):
    """Who enqueues does not claim, who claims does not operate, who looks on changes nothing."""
    kinds = listed(db)
    volatile = set(db.column(
        "select proname::text from pg_proc where pronamespace = 'runledger'::regnamespace and provolatile = 'v'"
    ))  # fmt: skip
    assert "worker" not in kinds["function", "enqueue_job"]
    assert "operator" not in kinds["function", "claim_jobs"]
    assert [name for (_, name), given in kinds.items() if "observer" in given and name in volatile] == []
    for name in ("grant_access", "revoke_access"):
        assert kinds["function", name] == []


def held(db, role: str) -> set[tuple[str, str, str]]:
    """Every privilege of this role in the schema, on whatever: (type, name, privilege)."""
    rows = db.all(
        """
        select o.type, o.name, a.privilege_type as privilege, a.is_grantable
          from (select 'schema' as type, nspname::text as name, nspacl as acl from pg_namespace
                 where nspname = 'runledger'
                union all
                select 'function', proname::text, proacl from pg_proc where pronamespace = 'runledger'::regnamespace
                union all
                select case relkind when 'v' then 'view' else 'table' end, relname::text, relacl from pg_class
                 where relnamespace = 'runledger'::regnamespace
                union all
                select 'column', attname::text, attacl from pg_attribute where attacl is not null
                union all
                select 'type', typname::text, typacl from pg_type where typnamespace = 'runledger'::regnamespace) as o
         cross join lateral aclexplode(o.acl) as a
         where a.grantee = %s::regrole""",
        [role],
    )
    assert not any(row["is_grantable"] for row in rows)
    return {(row["type"], row["name"], row["privilege"]) for row in rows}


@pytest.mark.matrix
@pytest.mark.parametrize("kinds", [*([kind] for kind in KINDS), ["producer", "worker"], KINDS], ids="-".join)
def test_a_kind_has_what_is_listed_and_nothing_else(db, new_role, kinds):
    role = new_role()
    for kind in kinds:
        db.execute("select runledger.grant_access(%s, %s)", [role, kind])
    wanted = {
        (type_, name, "EXECUTE" if type_ == "function" else "SELECT")
        for (type_, name), given in listed(db).items()
        if set(given) & set(kinds)
    }
    assert held(db, role) == wanted | {("schema", "runledger", "USAGE")}


def test_one_kind_of_two_leaves_with_what_only_it_may_do(db, new_role):
    role, other = new_role(), new_role()
    for kind in ("worker", "operator"):
        db.execute("select runledger.grant_access(%s, %s)", [role, kind])
    db.execute("select runledger.grant_access(%s, 'worker')", [other])
    db.execute("select runledger.revoke_access(%s, 'operator')", [role])
    assert held(db, role) == held(db, other)


def test_nothing_is_left_after_a_revoke(db, new_role):
    """Nor what somebody granted by hand; then the role can be dropped."""
    role = new_role()
    for kind in KINDS:
        db.execute("select runledger.grant_access(%s, %s)", [role, kind])
    db.execute(f"grant all on runledger.job_queue, runledger.lease_token_seq to {role}")
    db.execute(f"grant execute on function runledger._now to {role}")
    db.execute("select runledger.revoke_access(%s)", [role])
    assert held(db, role) == set()
    assert db.column("select kind from runledger.access_grants where role_name = %s", [role]) == []


def test_views_hold_back_leaky_conditions(db):
    assert (
        db.column("""
        select relname from pg_class where relnamespace = 'runledger'::regnamespace and relkind = 'v'
           and relname !~ '^_' and not coalesce(reloptions @> '{security_barrier=true}', false)""")
        == []
    )


def test_even_the_owner_cannot_rewrite_what_operators_did(db):
    owner = db.value("select nspowner::regrole::text from pg_namespace where nspname = 'runledger'")
    assert db.column(
        """select a.privilege_type from pg_class c cross join lateral aclexplode(c.relacl) a
            where c.oid = 'runledger.operator_actions'::regclass and a.grantee = %s::regrole
              and a.privilege_type in ('UPDATE', 'DELETE', 'TRUNCATE')""",
        [owner],
    ) == []  # fmt: skip
